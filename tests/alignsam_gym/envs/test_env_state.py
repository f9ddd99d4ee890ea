"""The single environment in mid-episode, saved and copied."""

import copy
import pickle
from typing import get_args

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import data_equivalence

from alignsam_gym.state import StateKind
from tests.conftest import ToyDataset

ACTIONS = [5, 9, 2]


@pytest.fixture
def env(make_toy):
    """Two steps into an episode, of a run that has taught its SRM something."""

    def env(**options):
        env = make_toy(max_steps=4, **options).unwrapped
        env.reset(seed=3)
        for action in (0, 7, 3, 4):
            env.step(action)
        env.reset()
        for action in (1, 6):
            env.step(action)
        return env

    return env


def ahead(env):
    """What the next steps and the episode after give, and what the SRM has learned by then."""
    results = [env.step(action) for action in ACTIONS[:2]]
    results += [env.reset(), *(env.step(action) for action in ACTIONS)]
    return results, env.action_masks(), env.srm.members[0].head.weight.detach().clone().numpy()


def loaded(env):
    twin = type(env)(**env._ezpickle_kwargs)
    twin.load_state_dict(env.state_dict())
    return twin


COPIES = {"deepcopy": copy.deepcopy, "pickle": lambda env: pickle.loads(pickle.dumps(env)), "state_dict": loaded}


@pytest.mark.parametrize("make_copy", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("state", get_args(StateKind))
def test_a_copy_goes_on_in_mid_episode(env, make_copy, state):
    original = env(state=state, revisit="forbid", stop=True, reward="delta_iou")
    twin = make_copy(original)
    expected = ahead(original)
    assert data_equivalence(ahead(twin), expected, exact=True)


@pytest.mark.parametrize("options", [{"observation": "patches"}, {"srm": {"width": 8, "folds": 2, "dropout": 0.3}}])
def test_a_copy_goes_on_whatever_is_observed_and_learned(env, options):
    original = env(**options)
    twin = copy.deepcopy(original)
    assert data_equivalence(ahead(twin), ahead(original), exact=True)


def test_the_same_state_may_be_loaded_again(env):
    env = env()
    saved = env.state_dict()
    first = ahead(env)
    env.load_state_dict(saved)
    assert data_equivalence(ahead(env), first, exact=True)


def test_a_state_leaves_an_srm_alone_that_another_environment_teaches(env, make_toy):
    training = env()
    testing = make_toy(split="test", srm=training.srm).unwrapped
    testing.reset(seed=0)
    saved = testing.state_dict()
    training.step(5)
    weight = training.srm.members[0].head.weight.detach().clone()
    testing.load_state_dict(saved)
    assert torch.equal(training.srm.members[0].head.weight, weight)


@pytest.mark.parametrize("make_copy", COPIES.values(), ids=COPIES)
def test_a_copy_knows_its_seed(env, make_copy):
    assert make_copy(env()).np_random_seed == 3


def test_a_copy_leaves_the_original_alone(env, make_toy):
    original, alone = env(), env()
    ahead(copy.deepcopy(original))
    assert data_equivalence(ahead(original), ahead(alone), exact=True)


def test_a_copy_through_gymnasiums_wrappers_goes_on(make_toy):
    env = make_toy()
    env.reset(seed=0)
    env.step(3)
    twin = copy.deepcopy(env)
    assert data_equivalence(twin.step(5), env.step(5), exact=True)


def test_a_copy_of_an_ended_episode_has_ended(make_toy):
    env = make_toy(max_steps=1).unwrapped
    env.reset(seed=0)
    env.step(3)
    with pytest.raises(gym.error.ResetNeeded):
        copy.deepcopy(env).step(5)


def test_before_the_first_reset_there_is_no_state(make_toy):
    env = make_toy().unwrapped
    with pytest.raises(gym.error.ResetNeeded, match=r"reset\(\) before state_dict"):
        env.state_dict()
    assert np.array_equal(copy.deepcopy(env).reset(seed=4)[0], env.reset(seed=4)[0])


def test_a_state_of_other_images_is_refused(make_toy):
    saved = make_toy().unwrapped
    saved.reset(seed=0)
    with pytest.raises(ValueError, match="are others now"):
        make_toy(dataset=ToyDataset(3)).unwrapped.load_state_dict(saved.state_dict())


def test_a_row_of_the_vector_environment_has_the_state_of_a_single_one(make_toy, make_toy_vec):
    single, envs = make_toy().unwrapped, make_toy_vec(1).unwrapped
    single.reset(seed=2)
    single.step(3)
    envs.reset(seed=9)
    envs.load_state_dict(single.state_dict())
    observation, reward, *_ = single.step(5)
    rows, rewards, *_ = envs.step(np.array([5]))
    np.testing.assert_allclose(rows[0], observation, atol=1e-5)
    np.testing.assert_allclose(rewards[0], reward, atol=1e-5)
