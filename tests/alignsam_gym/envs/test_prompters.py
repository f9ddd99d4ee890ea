import numpy as np
import pytest
import torch

from alignsam_gym.envs.prompters import (
    RandomPrompter,
    disagreement_prompter,
    grid_prompter,
    oracle_prompter,
    play,
    srm_prompter,
)


@pytest.fixture
def make_episode(make_toy_vec):
    """Three episodes in progress on 16 patches of 8 × 8 logits each."""

    def make(**options):
        envs = make_toy_vec(3, label_source="oracle", max_steps=20, **options).unwrapped
        envs.reset(seed=0, options={"index": [0, 1, 2]})
        return envs.episode

    return make


def _worst_patches(logits, truth, valid, mask, allowed):
    """The largest error of each row of patches that the oracle may choose from, and every patch's error."""
    errors, missed = np.zeros(16), np.zeros(16, bool)
    for patch in range(16):
        row, column = divmod(patch, 4)
        wrong = 0.0
        for y in range(8 * row, 8 * row + 8):
            for x in range(8 * column, 8 * column + 8):
                if (logits[y, x] > 0) != (truth[y, x] > 0.5):
                    wrong += valid[y, x]
        errors[patch] = wrong / 64
        y, x = 8 * row + 4, 8 * column + 4  # the centre is the corner between four logits
        centre = logits[y - 1 : y + 1, x - 1 : x + 1].mean() > 0
        missed[patch] = centre != mask[16 * row + 8, 16 * column + 8]
    candidates = [p for p in range(16) if allowed[p] and missed[p]] or [p for p in range(16) if allowed[p]]
    return max(errors[p] for p in candidates), errors, candidates


@pytest.mark.parametrize("revisit", ["allow", "forbid"])
def test_the_oracle_picks_the_worst_patch_among_those_missed(make_episode, revisit):
    episode = make_episode(revisit=revisit)
    visited, allowed = np.zeros((3, 16), bool), np.ones((3, 16), bool)
    for _ in range(18):
        actions = oracle_prompter(episode)
        for row, action in enumerate(actions):
            worst, errors, candidates = _worst_patches(
                episode.logits[row].numpy(),
                episode.truth[row].numpy(),
                episode.valid[row].numpy(),
                episode.encoded.dataset[row].mask,
                allowed[row],
            )
            assert action in candidates
            assert errors[action] == pytest.approx(worst, abs=1e-6)
        if revisit == "forbid":
            visited[range(3), actions] = True
            allowed = ~visited | visited.all(1, keepdims=True)
        episode.step([0, 1, 2], actions)


def test_the_oracle_takes_the_largest_error_where_no_centre_is_wrong(make_episode):
    episode = make_episode()
    truth = torch.stack([torch.from_numpy(episode.encoded.dataset[row].mask) for row in range(3)])
    episode.logits = torch.nn.functional.interpolate(truth[:, None].float(), (32, 32), mode="area")[:, 0] - 0.5
    for row in range(3):
        centres = episode.rules.grid.sample(episode.logits[[row] * 16], episode.centres) > 0
        assert torch.equal(centres, episode.centre_is_foreground[row])
    episode.logits[:, 9, 17] *= -1  # a lone wrong logit in patch (1, 2)
    assert oracle_prompter(episode).tolist() == [6, 6, 6]


def test_the_oracle_sees_no_error_at_a_void_centre(make_episode):
    episode = make_episode()
    truth = torch.stack([torch.from_numpy(episode.encoded.dataset[row].mask) for row in range(3)])
    episode.logits = torch.nn.functional.interpolate(truth[:, None].float(), (32, 32), mode="area")[:, 0] - 0.5
    episode.logits[:, 11:13, 19:21] *= -1  # the centre of patch (1, 2), which nobody has labelled
    episode.valid[:, 11:13, 19:21] = 0
    episode.logits[:, 25, 1] *= -1  # a lone wrong logit in patch (3, 0)
    assert oracle_prompter(episode).tolist() == [12, 12, 12]


def test_first_prompts_from_the_truth_are_an_images_own_in_any_batch(make_episode):
    episode = make_episode(split="test", initial_prompts="truth")
    points = {}
    for indices in ([0, 1, 2], [2, 2, 0]):
        next(play(episode, indices, grid_prompter))
        for row, index in enumerate(indices):
            points.setdefault(index, []).append(episode.points[row, :2].tolist())
    assert points[0][0] == points[0][1]
    assert points[2][0] == points[2][1] == points[2][2]
    assert points[0][0] != points[2][0]


def test_random_prompts_never_repeat_and_reach_every_patch(make_episode):
    episode, prompter = make_episode(), RandomPrompter(0)
    chosen = []
    for _ in range(16):
        actions = prompter(episode)
        chosen.append(actions)
        episode.step([0, 1, 2], actions)
        assert not episode.repeated.any()
    assert all(sorted(row) == list(range(16)) for row in np.stack(chosen, 1))
    assert len({tuple(row) for row in np.stack(chosen, 1)}) == 3
    assert prompter(episode).max() < 16


def test_random_prompts_follow_their_seed(make_episode):
    episode = make_episode()
    firsts = [RandomPrompter(seed)(episode).tolist() for seed in (1, 1, 2, 3)]
    assert firsts[0] == firsts[1]
    assert len({tuple(first) for first in firsts}) == 3


def test_the_grid_begins_in_the_middle_and_always_takes_a_farthest_patch(make_episode):
    episode, chosen = make_episode(), []
    places = episode.rules.grid.centres.numpy()
    for step in range(16):
        actions = grid_prompter(episode)
        assert len(set(actions.tolist())) == 1  # the same for every image
        if step:
            gaps = [min(np.hypot(*(place - places[before])) for before in chosen) for place in places]
            assert gaps[actions[0]] == pytest.approx(max(gaps))
        else:
            assert actions[0] in (5, 6, 9, 10)
        chosen.append(int(actions[0]))
        episode.step([0, 1, 2], actions)
    assert sorted(chosen) == list(range(16))


def test_the_srm_prompter_takes_the_best_patches_one_after_another(make_episode):
    episode = make_episode()
    belief = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0))
    episode.srm.logits = lambda states, folds: belief
    episode.srm_logits = belief.clone()
    means = belief.view(3, 4, 2, 4, 2).mean((2, 4)).flatten(1)
    order = means.argsort(dim=1, descending=True)
    for rank in range(16):
        actions = srm_prompter(episode)
        assert actions.tolist() == order[:, rank].tolist()
        episode.step([0, 1, 2], actions)


def test_disagreement_picks_the_patch_where_the_two_maps_differ_most(make_episode):
    episode = make_episode()
    torch.manual_seed(0)
    episode.mask = torch.rand_like(episode.mask)
    episode.srm_logits = torch.randn_like(episode.srm_logits)
    actions = disagreement_prompter(episode)
    side = episode.mask.shape[1] // 4
    for row in range(3):
        apart = np.abs(1 / (1 + np.exp(-episode.srm_logits[row].numpy())) - episode.mask[row].numpy())
        means = [apart[r * side : (r + 1) * side, c * side : (c + 1) * side].mean() for r in range(4) for c in range(4)]
        assert actions[row] == int(np.argmax(means))
