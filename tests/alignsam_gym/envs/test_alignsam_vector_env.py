import functools

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics

import alignsam_gym  # noqa: F401  # registers the environment
from alignsam_gym.envs.alignsam_vector_env import AlignSAMVectorEnv
from alignsam_gym.errors import OptionError
from tests.alignsam_gym.envs.vector_playing import are_identical, assert_close, play

MODES = list(AutoresetMode)


def assert_infos(ours, theirs, tolerance):
    """Equal where the masks of Gymnasium's own vector environment say that there is something."""
    for name in (name for name in theirs if not name.startswith("_")):
        there = theirs[f"_{name}"]
        np.testing.assert_array_equal(ours[f"_{name}"][there], True)
        if name == "final_info":
            assert_infos(ours[name], theirs[name], tolerance)
        elif name == "final_obs":
            np.testing.assert_array_equal([one is None for one in ours[name]], ~there)
            for row in np.flatnonzero(there):
                assert_close(ours[name][row], theirs[name][row], tolerance)
        else:
            assert_close(ours[name][there], theirs[name][there], tolerance)


def test_make_vec_takes_our_vector_environment_by_itself():
    envs = gym.make_vec("AlignSAM-v0", num_envs=2, shots=2)
    assert isinstance(envs.unwrapped, AlignSAMVectorEnv)
    assert envs.num_envs == 2
    assert envs.single_observation_space.shape == (128, 32, 32)
    assert envs.observation_space.shape == (2, 128, 32, 32)
    assert envs.single_action_space == gym.spaces.Discrete(100)
    assert envs.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    observation, _ = envs.reset(seed=0)
    assert observation in envs.observation_space
    envs.close()


@pytest.mark.parametrize(("ours", "theirs", "length"), [(5, 2, 2), (2, 5, 2), (3, None, 3)])
def test_the_shorter_of_both_limits_holds(make_toy_vec, ours, theirs, length):
    limit = {} if theirs is None else {"max_episode_steps": theirs}
    envs = make_toy_vec(2, max_steps=ours, **limit)
    envs.reset(seed=0)
    ends = [envs.step(np.array([0, 1]))[3].tolist() for _ in range(length)]
    assert ends == [[False, False]] * (length - 1) + [[True, True]]


def test_spaces_and_observations_agree_for_patches(make_toy_vec):
    envs = make_toy_vec(3, observation="patches", revisit="forbid")
    for observation, *_ in play(envs, [[0, 1, 2]] * 2, seed=0):
        assert observation in envs.observation_space
        for row in gym.vector.utils.iterate(envs.observation_space, observation):
            assert row in envs.single_observation_space


def _assert_rows_equal_singles(envs, singles, steps, tolerance):
    """Play two episodes by the vector environment and by one single environment for each row."""
    seed, rng = 20, np.random.default_rng(0)
    observations, infos = envs.reset(seed=seed)
    for row, env in enumerate(singles):
        observation, info = env.reset(seed=seed + row)
        assert_close(observations[row], observation, tolerance)
        assert_close({name: infos[name][row] for name in info}, info, tolerance)
    for step in range(2 * steps + 1):
        actions = rng.integers(0, envs.single_action_space.n, len(singles))
        observations, rewards, terminations, truncations, infos = envs.step(actions)
        for row, env in enumerate(singles):
            if step == steps:  # rows restart in this step
                observation, info = env.reset()
                reward, terminated, truncated = 0, False, False
            else:
                observation, reward, terminated, truncated, info = env.step(actions[row])
            assert_close(observations[row], observation, tolerance)
            assert rewards[row] == reward
            assert (terminations[row], truncations[row]) == (terminated, truncated)
            assert_close({name: infos[name][row] for name in info}, info, tolerance)


@pytest.mark.parametrize("options", [{}, {"state": "concat", "revisit": "forbid"}, {"split": "test"}])
def test_rows_play_as_single_environments_do(make_toy, make_toy_vec, options):
    options = {"label_source": "oracle", **options}
    if options.get("split") == "test":
        options["initial_prompts"] = "truth"  # each single environment would have its own SRM
    singles = [make_toy(**options) for _ in range(3)]
    _assert_rows_equal_singles(make_toy_vec(3, **options), singles, 3, 1e-4)


def test_rows_play_as_single_environments_do_with_the_embedded_model():
    options = {"shots": 4, "max_steps": 3, "label_source": "oracle", "srm": {"width": 8}}
    envs = gym.make_vec("AlignSAM-v0", 3, vectorization_mode="vector_entry_point", **options)
    singles = [gym.make("AlignSAM-v0", **options) for _ in range(3)]
    _assert_rows_equal_singles(envs, singles, 3, 1e-3)


def test_a_batch_of_one_equals_the_single_environment_with_an_srm_that_learns(make_toy, make_toy_vec):
    options = {"label_source": "srm", "srm": {"width": 8, "learning_rate": 0.05}}
    _assert_rows_equal_singles(make_toy_vec(1, **options), [make_toy(**options)], 3, 1e-6)


def test_rows_draw_what_single_environments_do_though_they_share_an_srm_that_learns(make_toy, make_toy_vec):
    options = {"label_source": "srm", "initial_prompts": "truth", "srm": {"width": 8}}
    envs, singles = make_toy_vec(2, **options), [make_toy(**options) for _ in range(2)]
    for seed in (5, None, None):
        _, infos = envs.reset(seed=seed)
        maps = []
        for row, env in enumerate(singles):
            _, info = env.reset(seed=None if seed is None else seed + row)
            assert info["index"] == infos["index"][row]
            episode, together = env.unwrapped.episode, envs.unwrapped.episode
            torch.testing.assert_close(episode.points[0], together.points[row])
            maps.append(torch.allclose(episode.srm_logits[0], together.srm_logits[row], atol=1e-3))
        assert maps == [True, False]


def test_deltas_of_iou_equal_the_single_ones(make_toy, make_toy_vec):
    options = {"label_source": "oracle", "reward": "delta_iou"}
    envs, singles = make_toy_vec(2, **options), [make_toy(**options) for _ in range(2)]
    envs.reset(seed=1)
    for row, env in enumerate(singles):
        env.reset(seed=1 + row)
    for action in (0, 6, 11):
        expected = [env.step(action)[1] for env in singles]
        np.testing.assert_allclose(envs.step(np.array([action, action]))[1], expected, atol=1e-4)


@pytest.mark.parametrize("observation", ["state", "patches"])
@pytest.mark.parametrize("mode", MODES)
def test_autoreset_is_gymnasiums(make_toy, make_toy_vec, mode, observation):
    options = {"label_source": "oracle", "observation": observation}
    ours = make_toy_vec(3, autoreset_mode=mode, **options)
    theirs = SyncVectorEnv([functools.partial(make_toy, **options) for _ in range(3)], autoreset_mode=mode)
    assert ours.metadata["autoreset_mode"] == theirs.metadata["autoreset_mode"] == mode
    (state, info), (expected, expected_info) = ours.reset(seed=5), theirs.reset(seed=5)
    assert_close(state, expected, 1e-4)
    assert ours.observation_space == theirs.observation_space
    rng, ended = np.random.default_rng(0), np.zeros(3, bool)
    for step in range(11):
        if step == 1:  # from here on, rows end at different steps
            ended = np.array([False, True, False])
        if ended.any() and (mode == AutoresetMode.DISABLED or step == 1):
            state, info = ours.reset(options={"reset_mask": ended})
            expected, expected_info = theirs.reset(options={"reset_mask": ended})
            assert_close(state, expected, 1e-4)
            assert_infos(info, expected_info, 1e-4)
        actions = rng.integers(0, 16, 3)
        (state, *results, info), (expected, *expected_results, expected_info) = ours.step(actions), theirs.step(actions)
        assert_close(state, expected, 1e-4)
        for ours_part, theirs_part in zip(results, expected_results, strict=True):
            np.testing.assert_array_equal(ours_part, theirs_part)
            assert ours_part.dtype == theirs_part.dtype
        assert info.keys() == expected_info.keys()
        assert_infos(info, expected_info, 1e-4)
        ended = results[2]
    theirs.close()


def test_same_step_shows_the_last_state_beside_the_first_of_the_next(make_toy_vec):
    same, disabled = (make_toy_vec(2, label_source="oracle", autoreset_mode=mode) for mode in MODES[1:])
    assert {same.metadata["autoreset_mode"], disabled.metadata["autoreset_mode"]} == set(MODES[1:])
    if same.metadata["autoreset_mode"] != AutoresetMode.SAME_STEP:
        same, disabled = disabled, same
    last = play(disabled, [[0, 1], [5, 6], [9, 9]], seed=0)[-1]
    step = play(same, [[0, 1], [5, 6], [9, 9]], seed=0)[-1]
    assert step[3].all()
    assert are_identical(list(step[4]["final_obs"]), list(last[0]))
    assert are_identical(step[4]["final_info"]["iou"], last[4]["iou"])
    first, info = disabled.reset(options={"reset_mask": np.array([True, True])})
    assert are_identical(step[0], first)
    assert are_identical(step[4]["iou"], info["iou"])


def test_the_srm_learns_alike_where_the_caller_wants_no_gradients(make_toy_vec):
    weights = []
    for enabled in (True, False):
        envs = make_toy_vec(3)
        envs.reset(seed=2)
        with torch.set_grad_enabled(enabled):
            envs.step(np.array([1, 5, 9]))
        weights.append(envs.unwrapped.episode.srm.members.state_dict())
    for name, value in weights[0].items():
        assert weights[1][name].equal(value)


def test_options_without_meaning_are_refused(make_toy_vec):
    with pytest.raises(OptionError, match="num_envs=0"):
        AlignSAMVectorEnv(num_envs=0)
    with pytest.raises(OptionError, match="num_envs='two': it must be a whole number"):
        AlignSAMVectorEnv(num_envs="two")
    with pytest.raises(OptionError, match="autoreset_mode='never' is unknown; choose one of NextStep"):
        make_toy_vec(2, autoreset_mode="never")


@pytest.mark.parametrize("name", ["stop", "compile"])
def test_a_word_is_no_switch(name):
    with pytest.raises(OptionError, match=f"{name}='no': it must be true or false"):
        AlignSAMVectorEnv(num_envs=2, **{name: "no"})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"reward": {"foreground": "much"}}, "reward.foreground='much': it must be a number"),
        ({"shots_seed": -1}, "shots_seed=-1"),
        ({"srm": 5}, "srm=5: give its options by name"),
        ({"srm": "run/srm.safetensors"}, "give its options by name, or a trained SRM"),
    ],
)
def test_what_cannot_be_computed_with_is_told(make_toy_vec, options, says):
    with pytest.raises(OptionError, match=says):
        make_toy_vec(2, **options)


def test_a_trained_srm_is_taken_from_rows_by_its_name(make_toy_vec):
    envs = make_toy_vec(2)
    assert make_toy_vec(2, split="test", srm=envs.unwrapped.srm).unwrapped.srm is envs.unwrapped.srm


def test_an_srm_of_another_device_is_refused(make_toy_vec):
    srm = make_toy_vec(2).unwrapped.srm
    srm.device = torch.device("cuda:0")
    with pytest.raises(OptionError, match="The given srm is on cuda:0, this environment on cpu"):
        make_toy_vec(2, split="test", srm=srm)


@pytest.mark.parametrize("actions", [[0, -1], [0, 16], [0.0, 1.5], [0], 0])
def test_an_action_outside_the_space_is_refused_as_by_the_single_environment(make_toy_vec, actions):
    envs = make_toy_vec(2)
    envs.reset(seed=0)
    with pytest.raises(OptionError, match=r"(?i)^actions"):
        envs.step(np.array(actions))


def test_the_first_row_is_shown_to_people(make_toy_vec, monkeypatch):
    shown = []
    monkeypatch.setattr("alignsam_gym.envs.alignsam_vector_env.show", shown.append)
    envs = make_toy_vec(2, render_mode="human")
    envs.reset(seed=0)
    envs.step(np.array([3, 4]))
    assert len(shown) == 2
    assert (shown[0] != shown[1]).any()


def test_episode_statistics_are_recorded(make_toy_vec):
    envs = RecordEpisodeStatistics(make_toy_vec(2, label_source="oracle"))
    results = play(envs, [[0, 5], [5, 5], [10, 10]], seed=0)
    statistics = results[-1][-1]["episode"]
    assert statistics["l"].tolist() == [3, 3]
    assert statistics["r"].tolist() == sum(result[1] for result in results[1:]).tolist()
