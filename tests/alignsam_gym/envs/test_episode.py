"""The rules of the game, against a replay by SamPredictor and numpy."""

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from alignsam_gym.errors import OptionError
from alignsam_gym.metrics.logits_iou import logits_iou
from alignsam_gym.srm import SRM, SRMConfig
from alignsam_gym.state import StateKind
from tests.alignsam_gym.envs.episode_replay import labelled_fractions, replay_of

ACTIONS = [5, 0, 10, 5]


@pytest.mark.parametrize(("size", "frame"), [((64, 64), 64), ((48, 96), 80)])
@pytest.mark.parametrize("label_source", ["oracle", "positive", "last"])
def test_an_episode_equals_its_replay(make_toy, toy_model, toy_dataset, label_source, size, frame):
    data = type(toy_dataset)(3, size)
    env = make_toy(
        dataset=data,
        image_size=frame,
        patch_size=frame // 4,
        max_steps=len(ACTIONS),
        label_source=label_source,
    )
    state, info = env.reset(seed=1, options={"index": 2})
    replay = replay_of(env, toy_model, data[2], frame)
    assert 0 < (replay.logits > 0).mean() < 1
    np.testing.assert_allclose(state, replay.state, atol=1e-4)
    for step, action in enumerate(ACTIONS):
        point = replay.centre(action)
        hit = replay.foreground(point)
        label = {"oracle": hit, "positive": 1, "last": replay.logit_at(point) > 0}[label_source]
        replay.prompt(point, int(label))

        state, reward, terminated, truncated, info = env.step(action)
        np.testing.assert_allclose(state, replay.state, atol=1e-4)
        assert reward == (1 if hit else -1)
        assert not terminated
        assert truncated == (step == len(ACTIONS) - 1)
        assert info["point"].tolist() == point.tolist()
        assert info["label"] == int(label)
        assert info["foreground"] == hit
        assert info["repeated"] == (action in ACTIONS[:step])
        assert info["iou"] == pytest.approx(replay.iou, abs=1e-4)
        assert info["index"] == 2
        assert info["image_id"] == "toy2"


def test_the_replayed_actions_meet_both_kinds_of_patch(toy_dataset):
    """Otherwise the test above would tell less than it seems to."""
    for size in ((64, 64), (48, 96)):
        mask = type(toy_dataset)(3, size)[2].mask
        h, w = np.array(size) // 4
        assert len({bool(mask[(a // 4) * h + h // 2, (a % 4) * w + w // 2]) for a in ACTIONS}) == 2


def test_the_concat_state_shows_the_embedding_the_product_and_the_mask(make_toy, toy_model, toy_dataset):
    env = make_toy(state="concat", label_source="oracle")
    state, _ = env.reset(seed=0, options={"index": 0})
    replay = replay_of(env, toy_model, toy_dataset[0])
    expected = np.concatenate([replay.predictor.features[0].numpy(), replay.state, replay.mask[None]])
    assert env.observation_space.shape == state.shape == expected.shape
    np.testing.assert_allclose(state, expected, atol=1e-4)


@pytest.mark.parametrize("kind", get_args(StateKind))
def test_what_is_learned_may_see_fewer_cells_than_the_state_has(make_toy, kind):
    env = make_toy(label_source="oracle", state=kind, srm_grid_size=4, observation="patches")
    fine = make_toy(label_source="oracle", state=kind, srm_grid_size=64, observation="patches")
    for one in (env, fine):
        one.reset(seed=4)
        one.step(6)
    episode, whole = env.unwrapped.episode, fine.unwrapped.episode
    assert episode.states().shape == whole.states().shape
    for name in ("embeddings", "mask", "truth_coarse", "valid_coarse"):
        coarse, expected = getattr(episode, name), getattr(whole, name)
        expected = expected.unflatten(-1, (4, 2)).unflatten(-3, (4, 2)).mean((-3, -1))
        torch.testing.assert_close(coarse, expected, atol=1e-5, rtol=1e-5)
    assert episode.srm_logits.shape == (1, 4, 4)
    with pytest.raises(OptionError, match="srm_grid_size=0"):
        make_toy(srm_grid_size=0)


def test_void_is_neither_foreground_nor_scored_on_the_srms_cells(make_toy, one_sample):
    mask, void = np.zeros((64, 64), bool), np.zeros((64, 64), bool)
    mask[:, :36], void[:20] = True, True
    void[30:, ::3] = True
    env = make_toy(dataset=one_sample(mask, void))
    env.reset(seed=0)
    episode = env.unwrapped.episode
    shares = labelled_fractions(mask, void, 8)
    for found, expected in zip((episode.truth_coarse, episode.valid_coarse), shares, strict=True):
        np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-6)


def test_an_answer_that_is_right_wherever_there_is_a_label_is_whole(make_toy, one_sample):
    """However much of its cells is void."""
    void = np.ones((64, 64), bool)
    void[::2, ::3] = False
    env = make_toy(dataset=one_sample(np.ones((64, 64), bool), void))
    env.reset(seed=0)
    episode = env.unwrapped.episode
    assert logits_iou(torch.ones_like(episode.logits), episode.truth, episode.valid).item() == 1


@pytest.mark.parametrize("kind", get_args(StateKind))
def test_patches_are_the_states_means(make_toy, kind):
    """The toy's embedding is 8 × 8 and its grid 4 × 4: a patch is two by two cells."""
    env, twin = (make_toy(label_source="oracle", state=kind, observation=seen) for seen in ("state", "patches"))
    (state, _), (patches, _) = env.reset(seed=4), twin.reset(seed=4)
    for action in (3, 9):
        means = state.reshape(len(state), 4, 2, 4, 2).mean((2, 4))
        np.testing.assert_allclose(patches[: len(state)], means, atol=1e-3, rtol=1e-3)
        if kind == "guided":
            difference = np.abs(state[-1] - state[-2]).reshape(4, 2, 4, 2).mean((1, 3))
            np.testing.assert_allclose(patches[-2], difference, atol=1e-3)
            between = state[-1].reshape(4, 2, 4, 2)  # a centre lies where four cells meet
            logits = torch.logit(torch.as_tensor(between)).mean((1, 3))
            np.testing.assert_allclose(patches[-1], logits.sigmoid(), atol=1e-3)
        assert patches in twin.observation_space
        state, patches = env.step(action)[0], twin.step(action)[0]


def test_every_image_comes_once_before_any_comes_again(make_toy):
    env = make_toy()
    drawn = [env.reset(seed=0)[1]["index"]] + [env.reset()[1]["index"] for _ in range(14)]
    rounds = [tuple(drawn[i : i + 5]) for i in (0, 5, 10)]
    assert all(sorted(one) == [0, 1, 2, 3, 4] for one in rounds)
    assert len(set(rounds)) > 1


def test_training_draws_its_shots_and_evaluation_plays_on_all(make_toy):
    for seed in (0, 1):
        ids = make_toy(shots=2, shots_seed=seed).unwrapped.episode.encoded.dataset.ids
        assert len(ids) == 2
        assert list(ids) == list(make_toy(shots=2, shots_seed=seed).unwrapped.episode.encoded.dataset.ids)
    assert len(make_toy(shots=2, split="test").unwrapped.episode.encoded) == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "val"}, "split='val' is unknown; choose one of .*train"),
        ({"branch": "explicitly"}, "branch='explicitly' is unknown; choose one of .*auto"),
        ({"label_source": "guess"}, "label_source='guess' is unknown; choose one of .*srm"),
        ({"initial_prompts": "none"}, "initial_prompts='none' is unknown; choose one of .*auto"),
        ({"state": "image"}, "state='image' is unknown; choose one of .*product"),
        ({"revisit": "never"}, "revisit='never' is unknown; choose one of .*allow"),
        ({"reward": "dice"}, "reward='dice' is unknown; choose one of .*foreground"),
        ({"reward": {"dice": 1.0}}, "reward='dice' is unknown; choose one of .*foreground"),
        ({"reward": {}}, "reward"),
        ({"reward": {"foreground": float("nan")}}, "reward.foreground=nan: it must be a finite number"),
        ({"reward": {"delta_iou": float("inf")}}, "reward.delta_iou=inf: it must be a finite number"),
        ({"observation": "pixels"}, "observation='pixels' is unknown; choose one of .*state"),
        ({"max_steps": 0}, "max_steps=0: an episode needs at least one step"),
        ({"shots": 0}, "shots=0: at least one labelled image is needed"),
        ({"patch_size": 60}, "patch_size=60 does not divide image_size=64"),
        ({"dataset": "cityscapes"}, "dataset='cityscapes' is unknown; choose one of .*shapes"),
        ({"dataset": "shapes", "shotz": 3}, "got an unexpected keyword argument 'shotz'; .* Did you mean shots"),
        ({"category": "star"}, "AlignSAM-v0 .whose dataset_kwargs take those of the data set. got .* 'category'"),
        ({"dataset_kwargs": {"category": "star"}}, "cannot be passed on to a data set that is given as an object"),
        ({"dataset_kwargs": "star"}, "dataset_kwargs='star': it must be a mapping of names to values"),
        ({"sam": None}, "sam=None: give the name of a SAM, such as 'tiny', the path of a checkpoint as a text"),
        ({"sam": Path("sam.pth")}, "sam=.*Path.'sam.pth'.: give the name of a SAM"),
        ({"clip": Path("clip.pt"), "branch": "explicit"}, "clip=.*Path.'clip.pt'.: give the name of a CLIP"),
        ({"srm": {"widht": 8}}, "srm got .* 'widht'; .* Did you mean width"),
        (
            {"srm": SRM("implicit", 32, SRMConfig(width=8), torch.device("cpu"), 0), "state": "concat"},
            r"for states of 32 channels; this environment needs an implicit one for 65\. Make it with the preset",
        ),
    ],
)
def test_options_without_meaning_are_named_with_what_to_do(make_toy, options, message):
    with pytest.raises(OptionError, match=message):
        make_toy(**options)


def test_reset_takes_an_index_of_the_data_set_and_nothing_else(make_toy):
    env = make_toy()
    env.reset(seed=0)
    for index in (-1, 5):
        with pytest.raises(OptionError, match=f"index={index} is outside the data set's 5 samples"):
            env.reset(options={"index": index})
    with pytest.raises(OptionError, match="reset has no option indx; it takes index"):
        env.reset(options={"indx": 1})
    with pytest.raises(OptionError, match="options=5: reset takes a dictionary, of index"):
        env.reset(options=5)
