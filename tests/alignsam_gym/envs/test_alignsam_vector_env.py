import copy
import functools
import pickle

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics

import alignsam_gym  # noqa: F401  # registers the environment
from alignsam_gym.envs.alignsam_vector_env import AlignSAMVectorEnv
from alignsam_gym.errors import OptionError

MODES = list(AutoresetMode)


def _assert_close(ours, theirs, tolerance):
    """Equal trees of dicts and arrays, floats within a tolerance."""
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys()
        for name in theirs:
            _assert_close(ours[name], theirs[name], tolerance)
    elif np.issubdtype(np.asarray(theirs).dtype, np.floating):
        np.testing.assert_allclose(ours, theirs, atol=tolerance)
    else:
        np.testing.assert_array_equal(ours, theirs)


def _assert_infos(ours, theirs, tolerance):
    """Equal where the masks of Gymnasium's own vector environment say that there is something."""
    for name in (name for name in theirs if not name.startswith("_")):
        there = theirs[f"_{name}"]
        np.testing.assert_array_equal(ours[f"_{name}"][there], True)
        if name == "final_info":
            _assert_infos(ours[name], theirs[name], tolerance)
        elif name == "final_obs":
            np.testing.assert_array_equal([one is None for one in ours[name]], ~there)
            for row in np.flatnonzero(there):
                _assert_close(ours[name][row], theirs[name][row], tolerance)
        else:
            _assert_close(ours[name][there], theirs[name][there], tolerance)


def _play(envs, actions, **reset):
    return [envs.reset(**reset), *(envs.step(np.array(action)) for action in actions)]


def _same(a, b):
    return data_equivalence(a, b, exact=True)


# Making


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
    for observation, *_ in _play(envs, [[0, 1, 2]] * 2, seed=0):
        assert observation in envs.observation_space
        for row in gym.vector.utils.iterate(envs.observation_space, observation):
            assert row in envs.single_observation_space


# Against the single environment


def _assert_rows_equal_singles(envs, singles, steps, tolerance):
    """Play two episodes by the vector environment and by one single environment for each row."""
    seed, rng = 20, np.random.default_rng(0)
    observations, infos = envs.reset(seed=seed)
    for row, env in enumerate(singles):
        observation, info = env.reset(seed=seed + row)
        _assert_close(observations[row], observation, tolerance)
        _assert_close({name: infos[name][row] for name in info}, info, tolerance)
    for step in range(2 * steps + 1):
        actions = rng.integers(0, envs.single_action_space.n, len(singles))
        observations, rewards, terminations, truncations, infos = envs.step(actions)
        for row, env in enumerate(singles):
            if step == steps:  # rows restart in this step
                observation, info = env.reset()
                reward, terminated, truncated = 0, False, False
            else:
                observation, reward, terminated, truncated, info = env.step(actions[row])
            _assert_close(observations[row], observation, tolerance)
            assert rewards[row] == reward
            assert (terminations[row], truncations[row]) == (terminated, truncated)
            _assert_close({name: infos[name][row] for name in info}, info, tolerance)


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


def test_deltas_of_iou_equal_the_single_ones(make_toy, make_toy_vec):
    options = {"label_source": "oracle", "reward": "delta_iou"}
    envs, singles = make_toy_vec(2, **options), [make_toy(**options) for _ in range(2)]
    envs.reset(seed=1)
    for row, env in enumerate(singles):
        env.reset(seed=1 + row)
    for action in (0, 6, 11):
        expected = [env.step(action)[1] for env in singles]
        np.testing.assert_allclose(envs.step(np.array([action, action]))[1], expected, atol=1e-4)


# Against Gymnasium's own vector environment


@pytest.mark.parametrize("observation", ["state", "patches"])
@pytest.mark.parametrize("mode", MODES)
def test_autoreset_is_gymnasiums(make_toy, make_toy_vec, mode, observation):
    options = {"label_source": "oracle", "observation": observation}
    ours = make_toy_vec(3, autoreset_mode=mode, **options)
    theirs = SyncVectorEnv([functools.partial(make_toy, **options) for _ in range(3)], autoreset_mode=mode)
    assert ours.metadata["autoreset_mode"] == theirs.metadata["autoreset_mode"] == mode
    (state, info), (expected, expected_info) = ours.reset(seed=5), theirs.reset(seed=5)
    _assert_close(state, expected, 1e-4)
    assert ours.observation_space == theirs.observation_space
    rng, ended = np.random.default_rng(0), np.zeros(3, bool)
    for step in range(11):
        if step == 1:  # from here on, rows end at different steps
            ended = np.array([False, True, False])
        if ended.any() and (mode == AutoresetMode.DISABLED or step == 1):
            state, info = ours.reset(options={"reset_mask": ended})
            expected, expected_info = theirs.reset(options={"reset_mask": ended})
            _assert_close(state, expected, 1e-4)
            _assert_infos(info, expected_info, 1e-4)
        actions = rng.integers(0, 16, 3)
        (state, *results, info), (expected, *expected_results, expected_info) = ours.step(actions), theirs.step(actions)
        _assert_close(state, expected, 1e-4)
        for ours_part, theirs_part in zip(results, expected_results, strict=True):
            np.testing.assert_array_equal(ours_part, theirs_part)
            assert ours_part.dtype == theirs_part.dtype
        assert info.keys() == expected_info.keys()
        _assert_infos(info, expected_info, 1e-4)
        ended = results[2]
    theirs.close()


def test_same_step_shows_the_last_state_beside_the_first_of_the_next(make_toy_vec):
    same, disabled = (make_toy_vec(2, label_source="oracle", autoreset_mode=mode) for mode in MODES[1:])
    assert {same.metadata["autoreset_mode"], disabled.metadata["autoreset_mode"]} == set(MODES[1:])
    if same.metadata["autoreset_mode"] != AutoresetMode.SAME_STEP:
        same, disabled = disabled, same
    last = _play(disabled, [[0, 1], [5, 6], [9, 9]], seed=0)[-1]
    step = _play(same, [[0, 1], [5, 6], [9, 9]], seed=0)[-1]
    assert step[3].all()
    assert _same(list(step[4]["final_obs"]), list(last[0]))
    assert _same(step[4]["final_info"]["iou"], last[4]["iou"])
    first, info = disabled.reset(options={"reset_mask": np.array([True, True])})
    assert _same(step[0], first)
    assert _same(step[4]["iou"], info["iou"])


def test_without_autoreset_ended_rows_must_be_reset(make_toy_vec):
    envs = make_toy_vec(2, autoreset_mode="Disabled", max_steps=1)
    envs.reset(seed=0)
    envs.step(np.array([0, 0]))
    with pytest.raises(gym.error.ResetNeeded, match="reset_mask"):
        envs.step(np.array([0, 0]))
    envs.reset(options={"reset_mask": np.array([True, False])})
    with pytest.raises(gym.error.ResetNeeded, match="reset_mask"):
        envs.step(np.array([0, 0]))


def test_a_reset_mask_leaves_the_other_rows_where_they_are(make_toy_vec):
    envs = make_toy_vec(3, label_source="oracle")
    before, _ = _play(envs, [[0, 1, 2]], seed=0)[-1][::4]
    after, info = envs.reset(options={"reset_mask": np.array([False, True, False]), "index": 4})
    np.testing.assert_array_equal(after[[0, 2]], before[[0, 2]])
    assert not np.array_equal(after[1], before[1])
    assert info["index"][1] == 4
    assert envs.unwrapped.episode.steps.tolist() == [1, 0, 1]


def test_step_needs_a_reset_first(make_toy_vec):
    with pytest.raises(gym.error.ResetNeeded):
        make_toy_vec(1).step(np.array([0]))


# Randomness


def test_one_seed_is_one_run(make_toy_vec):
    envs, actions = make_toy_vec(2), [[0, 1], [5, 6], [9, 9], [0, 0], [1, 2]]
    first = [_play(envs, actions, seed=3), _play(envs, actions)]
    again = [_play(envs, actions, seed=3), _play(envs, actions)]
    assert _same(first, again)
    assert not _same(first[0][0], first[1][0])
    assert not _same(first[0], _play(envs, actions, seed=4))


def test_seeds_can_be_given_row_by_row(make_toy_vec):
    envs = make_toy_vec(2, label_source="oracle")
    together = envs.reset(seed=3)
    assert _same(together, envs.reset(seed=[3, 4]))
    swapped = envs.reset(seed=[4, 3])[0]
    np.testing.assert_allclose(swapped[::-1], together[0], atol=1e-4)
    with pytest.raises(OptionError, match="3 seeds were given for 2 environments"):
        envs.reset(seed=[1, 2, 3])


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


def test_indices_choose_the_images(make_toy_vec):
    envs = make_toy_vec(3)
    assert envs.reset(seed=0, options={"index": 2})[1]["image_id"].tolist() == ["toy2"] * 3
    assert envs.reset(options={"index": [4, 0, 1]})[1]["image_id"].tolist() == ["toy4", "toy0", "toy1"]
    with pytest.raises(OptionError, match="index=5 is outside the data set's 5 samples"):
        envs.reset(options={"index": [0, 5, 0]})


def test_a_reset_mask_of_another_shape_is_refused(make_toy_vec):
    envs = make_toy_vec(3)
    envs.reset(seed=0)
    with pytest.raises(OptionError, match=r"reset_mask has shape \(2,\); it needs \(3,\)"):
        envs.reset(options={"reset_mask": np.array([True, False])})


def test_an_unknown_reset_option_is_refused_as_by_the_single_environment(make_toy_vec):
    with pytest.raises(OptionError, match="reset has no option indx"):
        make_toy_vec(2).reset(options={"indx": 1})


@pytest.mark.parametrize("mask", [[False] * 3, [True, False, True]])
def test_the_first_reset_is_of_all_rows(make_toy_vec, mask):
    with pytest.raises(OptionError, match=r"reset_mask=.* at first all"):
        make_toy_vec(3).reset(options={"reset_mask": np.array(mask)})


@pytest.mark.parametrize("index", [[0, 1], 2.7, [0, 1, 2.5], "0"])
def test_indices_that_are_none_are_refused(make_toy_vec, index):
    with pytest.raises(OptionError, match=r"index=.*one whole number or 3 whole numbers"):
        make_toy_vec(3).reset(options={"index": index})


def test_options_without_meaning_are_refused(make_toy_vec):
    with pytest.raises(OptionError, match="num_envs=0"):
        AlignSAMVectorEnv(num_envs=0)
    with pytest.raises(OptionError, match="num_envs='two': it must be a whole number"):
        AlignSAMVectorEnv(num_envs="two")
    with pytest.raises(OptionError, match="autoreset_mode='never' is unknown; choose one of NextStep"):
        make_toy_vec(2, autoreset_mode="never")


@pytest.mark.parametrize("name", ["stop", "mask_prompt", "compile"])
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
    with pytest.raises(OptionError):
        envs.step(np.array(actions))


def test_the_first_row_is_shown_to_people(make_toy_vec, monkeypatch):
    shown = []
    monkeypatch.setattr("alignsam_gym.envs.alignsam_vector_env.show", shown.append)
    envs = make_toy_vec(2, render_mode="human")
    envs.reset(seed=0)
    envs.step(np.array([3, 4]))
    assert len(shown) == 2
    assert (shown[0] != shown[1]).any()


# Going on


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_a_saved_state_goes_on_where_it_was_taken(make_toy_vec, mode):
    options = {"srm": {"width": 8, "learning_rate": 0.05}, "autoreset_mode": mode}
    envs, resumed = make_toy_vec(2, **options), make_toy_vec(2, **options)
    _play(envs, [[0, 1], [5, 6], [9, 9]], seed=3)
    saved = copy.deepcopy(envs.unwrapped.state_dict())
    resumed.unwrapped.load_state_dict(saved)
    actions = [[2, 3], [10, 11], [7, 7], [1, 1], [0, 12]]
    assert _same(resumed.unwrapped.observe(), envs.unwrapped.observe())
    assert _same([envs.step(np.array(a)) for a in actions], [resumed.step(np.array(a)) for a in actions])


def test_a_saved_state_is_not_changed_by_playing_on(make_toy_vec):
    envs = make_toy_vec(2, srm={"width": 8, "learning_rate": 0.05})
    _play(envs, [[0, 1]], seed=3)
    saved = envs.unwrapped.state_dict()
    actions = [[5, 6], [9, 9], [2, 3], [10, 11]]
    runs = []
    for _ in range(2):
        results = [envs.step(np.array(a)) for a in actions]
        runs.append((results, envs.unwrapped.episode.srm.members[0].head.weight.detach().clone().numpy()))
        envs.unwrapped.load_state_dict(saved)
    assert _same(*runs)


def test_what_was_returned_is_not_written_over(make_toy_vec):
    for observation in ("state", "patches"):
        envs = make_toy_vec(2, observation=observation, autoreset_mode="SameStep", max_steps=2)
        results = _play(envs, [[0, 1], [5, 6]], seed=0)
        kept = copy.deepcopy(results)
        _play(envs, [[0, 1], [5, 6]])
        assert _same(results, kept)


# Wrappers, pictures, processes


def test_episode_statistics_are_recorded(make_toy_vec):
    envs = RecordEpisodeStatistics(make_toy_vec(2, label_source="oracle"))
    results = _play(envs, [[0, 5], [5, 5], [10, 10]], seed=0)
    statistics = results[-1][-1]["episode"]
    assert statistics["l"].tolist() == [3, 3]
    assert statistics["r"].tolist() == sum(result[1] for result in results[1:]).tolist()


def test_a_pickled_vector_environment_plays_alike(make_toy_vec):
    envs = make_toy_vec(2, dataset="shapes", shots=3, autoreset_mode="SameStep", max_episode_steps=2).unwrapped
    twin = pickle.loads(pickle.dumps(envs))
    assert isinstance(twin, AlignSAMVectorEnv)
    assert twin.metadata == envs.metadata
    actions = [[0, 1], [5, 6], [9, 9]]
    assert _same(_play(twin, actions, seed=1), _play(envs, actions, seed=1))


@pytest.mark.slow
def test_single_environments_work_in_spawned_processes():
    make = functools.partial(gym.make, "alignsam_gym:AlignSAM-v0", shots=2, max_steps=2, label_source="oracle")
    remote = AsyncVectorEnv([make, make], context="spawn")
    local = SyncVectorEnv([make, make])
    actions = [[3, 40], [55, 60], [0, 0]]
    theirs, ours = _play(remote, actions, seed=0), _play(local, actions, seed=0)
    remote.close()
    for (state, *_), (expected, *_) in zip(theirs, ours, strict=True):
        np.testing.assert_allclose(state, expected, atol=1e-3)


def test_forked_processes_do_not_wait_for_threads_that_they_have_not(run_python):
    assert "(2, 128, 32, 32)" in run_python("""
import faulthandler, gymnasium as gym, torch
faulthandler.dump_traceback_later(120, exit=True)
torch.set_num_threads(2)
options = {"shots": 2, "label_source": "oracle"}
gym.make("alignsam_gym:AlignSAM-v0", **options).reset(seed=0)
envs = gym.make_vec("AlignSAM-v0", 2, vectorization_mode="async", vector_kwargs={"context": "fork"}, **options)
envs.reset_async(seed=0)
print(envs.reset_wait(timeout=60)[0].shape)
envs.close()
""")
