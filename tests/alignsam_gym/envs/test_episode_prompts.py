"""Which points prompt SAM, and with which labels: the first prompts, revisits, label sources."""

import numpy as np
import pytest
import torch

from tests.alignsam_gym.envs.episode_replay import fix_srm, halves, replay_of


def test_the_first_background_pixel_has_a_label(make_toy, one_sample):
    mask, void = np.zeros((64, 64), bool), np.ones((64, 64), bool)
    mask[:8], void[:8], void[60:, 60:] = True, False, False
    env = make_toy(dataset=one_sample(mask, void))
    for seed in range(20):
        env.reset(seed=seed)
        points = env.unwrapped.episode.points[0].numpy()
        assert points[0, 1] < 8
        assert (points[1] > 60).all()


def test_forbidden_revisits_are_masked_until_nothing_is_left(make_toy):
    env = make_toy(revisit="forbid", label_source="positive", max_steps=17, observation="patches")
    observation, _ = env.reset(seed=0)
    free = np.ones(16, bool)
    for action in np.random.default_rng(0).permutation(16):
        np.testing.assert_array_equal(env.unwrapped.action_masks(), free)
        np.testing.assert_array_equal(observation["visited"], ~free)
        observation, *_, info = env.step(action)
        assert not info["repeated"]
        free[action] = False
    assert env.unwrapped.action_masks().all()
    assert env.step(0)[-1]["repeated"]
    env.reset()
    assert env.unwrapped.action_masks().all()


def test_allowed_revisits_mask_nothing(make_toy):
    env = make_toy(label_source="positive", observation="patches")
    observation, _ = env.reset(seed=0)
    assert isinstance(observation, np.ndarray)  # no dictionary, so nothing is marked as visited
    env.step(3)
    assert env.unwrapped.action_masks().tolist() == [True] * 16


@pytest.mark.parametrize("vertical", [True, False])
def test_the_srm_labels_points_by_its_map(make_toy, vertical):
    env = make_toy(label_source="srm", max_steps=16)
    fix_srm(env, halves(vertical))
    env.reset(seed=0)
    for action in range(16):
        row, column = divmod(action, 4)
        assert env.step(action)[-1]["label"] == ((column if vertical else row) < 2)


def test_the_srm_is_asked_about_the_state_that_the_agent_saw(make_toy):
    env = make_toy(label_source="srm")
    seen = fix_srm(env, halves())
    state, _ = env.reset(seed=0)
    for action in (3, 7):
        np.testing.assert_array_equal(seen[-1][0], state)
        state = env.step(action)[0]


@pytest.mark.parametrize("size", [(64, 64), (48, 96)])
def test_training_begins_with_a_random_pixel_of_either_kind(make_toy, toy_dataset, size):
    data = type(toy_dataset)(2, size)
    env = make_toy(dataset=data)
    env.reset(seed=0)
    starts = set()
    for _ in range(12):
        _, info = env.reset(options={"index": 1})
        episode = env.unwrapped.episode
        assert episode.labels[0].tolist() == [1, 0, -1, -1, -1]
        for point, kind in zip(episode.points[0, :2].numpy(), (True, False), strict=True):
            x, y = point / 64 * size[::-1]
            assert x % 1 == pytest.approx(0.5, abs=1e-3)
            assert y % 1 == pytest.approx(0.5, abs=1e-3)
            assert data[1].mask[int(y), int(x)] == kind
            starts.add((x, y))
        assert info["label"] == 1
        np.testing.assert_array_equal(info["point"], episode.points[0, 0])
    assert len(starts) > 12


@pytest.mark.parametrize("full", [True, False])
def test_a_mask_of_one_kind_gives_the_one_prompt_there_is(make_toy, toy_model, one_sample, full):
    data = one_sample(np.full((64, 64), full))
    env = make_toy(dataset=data, label_source="oracle")
    state, info = env.reset(seed=0)
    assert env.unwrapped.episode.labels[0, :2].tolist() == ([1, -1] if full else [-1, 0])
    assert info["label"] == (1 if full else -1)
    replay = replay_of(env, toy_model, data[0])
    assert len(replay.points) == 1
    np.testing.assert_allclose(state, replay.state, atol=1e-4)
    _, reward, _, _, info = env.step(6)
    assert reward == (1 if full else -1)
    replay.prompt(replay.centre(6), int(full))
    assert info["iou"] == pytest.approx(replay.iou, abs=1e-4)


def test_evaluation_begins_where_the_srm_is_surest(make_toy):
    env = make_toy(split="test", label_source="positive")
    belief = np.zeros((8, 8))
    belief[2, 5], belief[7, 0] = 3, -3
    seen = fix_srm(env, belief)
    env.reset(seed=0)
    episode = env.unwrapped.episode
    np.testing.assert_allclose(episode.points[0, :2], [[44, 20], [4, 60]])
    assert episode.labels[0, :2].tolist() == [1, 0]
    assert torch.equal(seen[0][0], episode.embeddings[0])  # M = 1: nothing is known yet


def test_first_prompts_can_be_chosen_against_the_split(make_toy):
    env = make_toy(split="train", initial_prompts="srm")
    seen = fix_srm(env, halves())
    env.reset(seed=0)
    assert len(seen) == 2  # for the pair, and for the state that the pair led to
    env = make_toy(split="test", initial_prompts="truth")
    seen = fix_srm(env, halves())
    env.reset(seed=0)
    assert len(seen) == 1


def test_no_positive_prompt_starts_in_void(make_toy, one_sample):
    mask, void = np.ones((64, 64), bool), np.ones((64, 64), bool)
    void[10, 20] = False
    env = make_toy(dataset=one_sample(mask, void))
    env.reset(seed=0)
    np.testing.assert_allclose(env.unwrapped.episode.points[0, 0], [20.5, 10.5])
