"""Stopping, an action that ends the episode."""

import warnings

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from alignsam_gym.envs.spaces import infos_of, outcome_of

STOP = 16


def test_stopping_terminates_and_changes_nothing(make_toy):
    env = make_toy(stop=True, label_source="oracle", reward={"foreground": 1, "delta_iou": 1})
    assert env.action_space.n == STOP + 1
    env.reset(seed=0)
    before, _, _, _, told = env.step(3)
    srm = {name: value.clone() for name, value in env.unwrapped.srm.members.state_dict().items()}
    after, reward, terminated, truncated, info = env.step(STOP)
    assert (terminated, truncated, reward) == (True, False, 0)
    np.testing.assert_array_equal(after, before)
    assert info["iou"] == told["iou"]
    assert info["label"] == -1
    assert not info["foreground"]
    assert all(value.equal(srm[name]) for name, value in env.unwrapped.srm.members.state_dict().items())
    _, info = env.reset()
    assert not env.step(3)[2]


def test_without_the_rule_there_is_no_such_action(make_toy):
    assert make_toy().action_space.n == STOP


def test_gymnasiums_checker_has_nothing_to_say_of_stopping(make_toy):
    env = make_toy(stop=True, revisit="forbid", observation="patches").unwrapped
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env, skip_render_check=True)


def test_stopping_stays_allowed_when_patches_are_not(make_toy):
    env = make_toy(stop=True, revisit="forbid", max_steps=20)
    env.reset(seed=0)
    for action in range(5):
        env.step(action)
    assert np.flatnonzero(~env.unwrapped.action_masks()).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
def test_a_row_that_stops_leaves_the_others_alone(make_toy_vec, mode):
    options = {"split": "test", "label_source": "oracle", "autoreset_mode": mode}
    envs, twins = make_toy_vec(2, stop=True, **options), make_toy_vec(2, **options)
    envs.reset(seed=0)
    twins.reset(seed=0)
    _, _, terminated, truncated, info = envs.step(np.array([STOP, 4]))
    expected, _, _, _, told = twins.step(np.array([9, 4]))
    assert terminated.tolist() == [True, False]
    assert not truncated.any()
    observation, _, terminated, _, info = envs.step(np.array([2, 5]))
    expected, _, _, _, told = twins.step(np.array([2, 5]))
    np.testing.assert_allclose(observation[1], expected[1], atol=1e-5)
    assert info["iou"][1] == pytest.approx(told["iou"][1], abs=1e-5)
    assert not terminated.any()


def test_a_row_that_stops_begins_another_image_in_the_same_step(make_toy_vec):
    envs = make_toy_vec(2, stop=True, split="test", label_source="oracle", autoreset_mode=AutoresetMode.SAME_STEP)
    last, told = envs.reset(seed=0)
    observation, rewards, _, _, info = envs.step(np.array([STOP, 4]))
    assert envs.unwrapped.episode.steps.tolist() == [0, 1]
    assert info["index"][0] != told["index"][0]
    assert not np.array_equal(observation[0], last[0])
    assert rewards[0] == 0
    np.testing.assert_array_equal(info["final_obs"][0], last[0])
    assert info["final_obs"][1] is None
    for name in ("index", "iou"):
        assert info["final_info"][name][0] == told[name][0]
    assert info["_final_obs"].tolist() == info["_final_info"].tolist() == [True, False]


def test_a_row_that_stops_begins_another_image_in_the_next_step(make_toy_vec):
    envs = make_toy_vec(2, stop=True, split="test", label_source="oracle", autoreset_mode=AutoresetMode.NEXT_STEP)
    last, told = envs.reset(seed=0)
    observation, rewards, _, _, info = envs.step(np.array([STOP, 4]))
    assert (info["index"][0], rewards[0]) == (told["index"][0], 0)
    np.testing.assert_array_equal(observation[0], last[0])
    observation, rewards, _, _, info = envs.step(np.array([2, 5]))
    assert envs.unwrapped.episode.steps.tolist() == [0, 2]
    assert info["index"][0] != told["index"][0]
    assert not np.array_equal(observation[0], last[0])
    assert rewards[0] == 0


def test_rows_that_have_stopped_stay_as_they_are(make_toy_vec):
    """As evaluation plays on: a batch goes to the last step of the longest of its episodes."""
    envs = make_toy_vec(3, stop=True, split="test", label_source="oracle")
    envs.reset(seed=0)
    episode = envs.episode
    episode.step([0, 1, 2], [1, STOP, 2])
    before = episode.iou[1].item(), episode.points[1].clone(), episode.labels[1].clone()
    episode.step([0, 1, 2], [5, 6, STOP])
    assert outcome_of(episode, "patches").rewards.tolist()[1:] == [0, 0]
    assert (episode.iou[1].item(), True, True) == (
        before[0],
        episode.points[1].equal(before[1]),
        episode.labels[1].equal(before[2]),
    )
    assert infos_of(episode)["label"].tolist()[1:] == [-1, -1]
    assert episode.terminated().tolist() == [False, True, True]
