"""What an episode answers, by `answer`."""

import pytest
import torch

from alignsam_gym.envs.fused_answer import SAM_LIMIT, SRM_LIMIT, fuse_answers
from alignsam_gym.envs.prompters import begin, grid_prompter, play
from alignsam_gym.envs.prompting_session import PromptingSession
from alignsam_gym.metrics.logits_iou import logits_iou


@pytest.fixture
def make_episode_of(make_toy_vec):
    def make(count=2, **rules):
        return make_toy_vec(count, split="test", label_source="last", **rules).unwrapped.episode

    return make


def _answers(episode, indices=(0, 1)):
    """Each step's answers, SAM's logits and the maps."""
    return [
        tuple(part.clone() for part in (episode.answers, episode.logits, episode.srm_logits))
        for _ in play(episode, list(indices), grid_prompter)
    ]


def _played_session(episode, image):
    """A session of the episode's rules, prompted to its end."""
    session = PromptingSession(episode.rules, episode.model, episode.srm, grid_prompter)
    session.set_image(image)
    while session.step():
        pass
    return session


def test_sam_counts_as_far_as_its_mask_and_that_of_the_map_agree():
    def halves(*signs):  # left and right
        return torch.tensor(signs, dtype=torch.float32).repeat_interleave(4).expand(8, 8)

    sam = 30 * torch.stack([halves(1, -1), halves(1, -1), halves(1, 1), halves(-1, -1)])
    srm = 9 * torch.stack([halves(1, -1), halves(-1, 1), halves(1, -1), halves(-1, -1)])
    same, opposite, half, nothing = fuse_answers(sam, srm)
    torch.testing.assert_close(same, sam[0].clamp(-SAM_LIMIT, SAM_LIMIT))
    torch.testing.assert_close(opposite, srm[1].clamp(-SRM_LIMIT, SRM_LIMIT))
    torch.testing.assert_close(half, halves(1, 1) * SAM_LIMIT / 4 + halves(1, -1) * SRM_LIMIT * 3 / 4)
    torch.testing.assert_close(nothing, torch.full((8, 8), -SAM_LIMIT))


def test_sams_answer_is_its_logits(make_episode_of):
    for answers, logits, _ in _answers(make_episode_of()):
        assert torch.equal(answers, logits)


def test_the_fused_answer_is_of_the_present_map_and_leaves_the_game_alone(make_episode_of):
    episode = make_episode_of(answer="fused")
    played, plain = _answers(episode), _answers(make_episode_of())
    for (answers, logits, maps), (_, same, _) in zip(played, plain, strict=True):
        assert torch.equal(answers, fuse_answers(logits, maps))
        assert torch.equal(logits, same)


def test_a_session_answers_as_the_episode_does(make_episode_of, toy_dataset):
    episode = make_episode_of(1, answer="fused")
    session = _played_session(episode, toy_dataset[2].image)
    for step, (answers, _, _) in enumerate(_answers(episode, [2])):
        torch.testing.assert_close(session.prediction(step=step).logits, answers[0], atol=1e-4, rtol=1e-4)


def test_a_users_point_changes_the_fused_answer_as_the_same_step_does(make_episode_of, toy_dataset):
    episode = make_episode_of(1, answer="fused")
    session = _played_session(episode, toy_dataset[1].image)
    following = session.prediction(step=2)
    session.add_point(*following.points[-1].tolist(), bool(following.labels[-1]))
    torch.testing.assert_close(session.prediction(step=1).logits, following.logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("answer", ["sam", "fused"])
def test_reward_and_iou_are_about_the_answer(make_toy, answer):
    env = make_toy(answer=answer, reward="delta_iou", label_source="oracle")
    _, info = env.reset(seed=0)
    episode = env.unwrapped.episode
    for action in (3, 9, 12):
        before = info["iou"]
        _, reward, _, _, info = env.step(action)
        assert info["iou"] == logits_iou(episode.answers, episode.truth, episode.valid)[0]
        assert reward == pytest.approx(info["iou"] - before)


def test_looking_ahead_is_about_both_answers(make_episode_of):
    episode = make_episode_of()
    begin(episode, [0, 1])
    tried = torch.tensor([[3, 9], [12, 0]])
    foreseen = episode.lookahead_ious(tried)
    maps = episode.srm_logits.clone()
    for column, actions in enumerate(tried.T):
        begin(episode, [0, 1])
        episode.step(range(2), actions.numpy())
        for answer, logits in {"sam": episode.logits, "fused": fuse_answers(episode.logits, maps)}.items():
            expected = logits_iou(logits, episode.truth, episode.valid)
            torch.testing.assert_close(foreseen[answer][:, column], expected)


def test_an_srm_that_has_learned_nothing_and_is_to_answer_is_told(make_toy):
    env = make_toy(split="test", answer="fused", label_source="oracle", initial_prompts="truth")
    with pytest.warns(UserWarning, match="labels, prompts and answers that it decides are random"):
        env.reset(seed=0)
