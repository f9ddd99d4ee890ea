"""A vector environment that is saved and restored, pickled, or played in other processes."""

import copy
import functools
import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from alignsam_gym.envs.alignsam_vector_env import AlignSAMVectorEnv
from tests.alignsam_gym.envs.vector_playing import are_identical, play


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_a_saved_state_goes_on_where_it_was_taken(make_toy_vec, mode):
    options = {"srm": {"width": 8, "learning_rate": 0.05}, "autoreset_mode": mode}
    envs, resumed = make_toy_vec(2, **options), make_toy_vec(2, **options)
    play(envs, [[0, 1], [5, 6], [9, 9]], seed=3)
    saved = copy.deepcopy(envs.unwrapped.state_dict())
    resumed.unwrapped.load_state_dict(saved)
    actions = [[2, 3], [10, 11], [7, 7], [1, 1], [0, 12]]
    assert are_identical(resumed.unwrapped.observe(), envs.unwrapped.observe())
    assert are_identical([envs.step(np.array(a)) for a in actions], [resumed.step(np.array(a)) for a in actions])


def test_a_saved_state_is_not_changed_by_playing_on(make_toy_vec):
    envs = make_toy_vec(2, srm={"width": 8, "learning_rate": 0.05})
    play(envs, [[0, 1]], seed=3)
    saved = envs.unwrapped.state_dict()
    actions = [[5, 6], [9, 9], [2, 3], [10, 11]]
    runs = []
    for _ in range(2):
        results = [envs.step(np.array(a)) for a in actions]
        runs.append((results, envs.unwrapped.episode.srm.members[0].head.weight.detach().clone().numpy()))
        envs.unwrapped.load_state_dict(saved)
    assert are_identical(*runs)


@pytest.mark.parametrize("make_copy", [copy.deepcopy, lambda envs: pickle.loads(pickle.dumps(envs))])
def test_a_copy_goes_on_in_mid_episode(make_toy_vec, make_copy):
    envs = make_toy_vec(2, autoreset_mode="SameStep", revisit="forbid").unwrapped
    play(envs, [[0, 1]], seed=3)
    twin = make_copy(envs)
    assert are_identical(*([each.step(np.array(a)) for a in ([5, 6], [9, 8], [2, 3])] for each in (envs, twin)))


def test_what_was_returned_is_not_written_over(make_toy_vec):
    for observation in ("state", "patches"):
        envs = make_toy_vec(2, observation=observation, autoreset_mode="SameStep", max_steps=2)
        results = play(envs, [[0, 1], [5, 6]], seed=0)
        kept = copy.deepcopy(results)
        play(envs, [[0, 1], [5, 6]])
        assert are_identical(results, kept)


def test_a_pickled_vector_environment_plays_alike(make_toy_vec):
    envs = make_toy_vec(2, dataset="shapes", shots=3, autoreset_mode="SameStep", max_episode_steps=2).unwrapped
    twin = pickle.loads(pickle.dumps(envs))
    assert isinstance(twin, AlignSAMVectorEnv)
    assert twin.metadata == envs.metadata
    actions = [[0, 1], [5, 6], [9, 9]]
    assert are_identical(play(twin, actions, seed=1), play(envs, actions, seed=1))


@pytest.mark.slow
def test_single_environments_work_in_spawned_processes():
    make = functools.partial(gym.make, "alignsam_gym:AlignSAM-v0", shots=2, max_steps=2, label_source="oracle")
    remote = AsyncVectorEnv([make, make], context="spawn")
    local = SyncVectorEnv([make, make])
    actions = [[3, 40], [55, 60], [0, 0]]
    theirs, ours = play(remote, actions, seed=0), play(local, actions, seed=0)
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
