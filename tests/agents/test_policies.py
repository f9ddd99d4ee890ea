from typing import get_args

import gymnasium as gym
import numpy as np
import pytest
import torch

import alignsam_gym  # noqa: F401
from alignsam_gym.agents.algorithms import make_learner, make_policy
from alignsam_gym.agents.networks import NETWORKS, observation_of
from alignsam_gym.agents.vec_env import PromptVecEnv
from alignsam_gym.state import StateKind

REVISITS = {"revisit": "forbid"}


def make_venv(network="patch", **options):
    options = {"shots": 4, "max_steps": 4, "label_source": "oracle", **options}
    seen = observation_of({"network": network})
    env = gym.make_vec("AlignSAM-v0", num_envs=4, autoreset_mode="SameStep", observation=seen, **REVISITS | options)
    return PromptVecEnv(env)


@pytest.fixture(params=sorted(NETWORKS))
def network(request):
    return request.param


@pytest.mark.usefixtures("toy_sam")
@pytest.mark.parametrize("state", get_args(StateKind))
def test_policies_take_every_kind_of_state(network, state):
    venv = make_venv(network, state=state)
    policy = make_policy(venv, {"algorithm": "ppo"}, {"network": network, "width": 8})
    actions, _ = policy.predict(venv.reset())
    assert actions.shape == (4,)
    assert (actions < 100).all()


@pytest.mark.usefixtures("toy_sam")
def test_visited_patches_are_never_chosen(network):
    venv = make_venv(network, max_steps=20)
    policy = make_policy(venv, {"algorithm": "ppo"}, {"network": network, "width": 8})
    observation = venv.reset()
    observation["visited"][:, 3:] = 1  # three patches are left
    for deterministic in (True, False):
        chosen, _ = policy.predict(observation, deterministic=deterministic)
        assert (chosen < 3).all()
    values, log_prob, entropy = policy.evaluate_actions(
        policy.obs_to_tensor(observation)[0], torch.tensor([0, 1, 2, 3])
    )
    assert torch.isfinite(values).all()
    assert (log_prob[:3] > np.log(0.2)).all()
    assert log_prob[3] < -1e6
    assert (entropy <= np.log(3) + 1e-4).all()


@pytest.mark.usefixtures("toy_sam")
def test_a_row_that_visited_everything_may_choose_anything(network):
    venv = make_venv(network)
    policy = make_policy(venv, {"algorithm": "ppo"}, {"network": network, "width": 8})
    torch.nn.init.normal_(policy.mlp_extractor.logits.weight, std=5)
    observation, found = venv.reset(), []
    for visited in (0, 1):
        observation["visited"][:] = visited
        found.append(policy.get_distribution(policy.obs_to_tensor(observation)[0]).distribution.probs)
    torch.testing.assert_close(*found)
    assert found[0].max() > 2 / found[0].shape[1]


@pytest.mark.usefixtures("toy_sam")
def test_policies_begin_nearly_uniform(network):
    venv = make_venv(network)
    policy = make_policy(venv, {"algorithm": "ppo"}, {"network": network, "width": 8})
    distribution = policy.get_distribution(policy.obs_to_tensor(venv.reset())[0])
    assert (distribution.entropy() > 0.95 * np.log(100)).all()


@pytest.mark.slow
def test_ppo_learns_to_hit_the_target():
    """Four images, true labels: the foreground rate must at least double within a few hundred steps."""
    rates = []
    venv = make_venv("patch", max_steps=5)
    options = {"algorithm": "ppo", "n_steps": 5, "n_epochs": 10, "batch_size": 20, "learning_rate": 1e-3}
    options |= {"gamma": 0.9, "gae_lambda": 0.9}
    model = make_learner(venv, options, {"network": "patch", "width": 16}, seed=0)

    def record(variables, _):
        rates.append(np.mean([info["foreground"] for info in variables["infos"]]))
        return True

    model.learn(700, callback=record)
    assert np.mean(rates[-40:]) > 2 * np.mean(rates[:40])
    assert np.mean(rates[-40:]) > 0.4
