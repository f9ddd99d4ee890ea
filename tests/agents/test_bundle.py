import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import CallbackList

import alignsam_gym  # noqa: F401
from agents.algorithms import make_policy, make_ppo
from agents.bundle import load_agent, load_checkpoint, save_agent
from agents.callbacks import Checkpoints, EpisodeStatistics
from agents.vec_env import PromptVecEnv
from alignsam_gym.errors import WeightsError
from alignsam_gym.state import State

PPO_OPTIONS = {"policy": "patch", "width": 8, "n_epochs": 2, "batch_size": 6, "learning_rate": 1e-3}
ROLLOUT = 12


def make_venv(num_envs=4):
    env = gym.make_vec(
        "AlignSAM-v0", num_envs=num_envs, autoreset_mode="SameStep", observation="patches", shots=6, max_steps=3,
        revisit="forbid", srm={"width": 8},
    )  # fmt: skip
    return PromptVecEnv(env)


def train(steps, checkpoint, resume=False):
    venv = make_venv()
    model = make_ppo(venv, PPO_OPTIONS, seed=5)
    history = load_checkpoint(checkpoint, model, venv.env) if resume else []
    callbacks = CallbackList([EpisodeStatistics(history), Checkpoints(checkpoint, venv.env, history)])
    model.learn(steps - model.num_timesteps, callbacks, reset_num_timesteps=False)
    return model, venv.env, history


def test_two_halves_equal_one_whole(tmp_path):
    whole, whole_env, whole_history = train(4 * ROLLOUT, tmp_path / "whole.pt")
    train(2 * ROLLOUT, tmp_path / "half.pt")
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002  # what a new process would have drawn from
    resumed, resumed_env, history = train(4 * ROLLOUT, tmp_path / "half.pt", resume=True)
    assert resumed.num_timesteps == whole.num_timesteps == 4 * ROLLOUT
    assert history == whole_history
    for name, value in whole.policy.state_dict().items():
        torch.testing.assert_close(resumed.policy.state_dict()[name], value, rtol=0, atol=0)
    for name, value in whole_env.episode.srm.members.state_dict().items():
        torch.testing.assert_close(resumed_env.episode.srm.members.state_dict()[name], value, rtol=0, atol=0)
    np.testing.assert_array_equal(resumed_env.observe()["patches"], whole_env.observe()["patches"])


def test_a_saved_agent_chooses_the_same(tmp_path):
    model, env, _ = train(ROLLOUT, tmp_path / "c.pt")
    save_agent(tmp_path, model.policy, env.episode.srm)
    venv = make_venv()
    policy = make_policy(venv, PPO_OPTIONS)
    load_agent(tmp_path, policy, venv.env.episode.srm)
    observation = env.observe()
    expected = model.policy.get_distribution(model.policy.obs_to_tensor(observation)[0]).distribution.logits
    loaded = policy.get_distribution(policy.obs_to_tensor(observation)[0]).distribution.logits
    torch.testing.assert_close(loaded, expected)
    embeddings = env.episode.embeddings
    states = State(embeddings, env.episode.mask[:, None], embeddings[:, :0])
    torch.testing.assert_close(venv.env.episode.srm.logits(states), env.episode.srm.logits(states))


def test_loading_says_what_is_wrong(tmp_path):
    venv = make_venv()
    model = make_ppo(venv, PPO_OPTIONS, seed=0)
    with pytest.raises(WeightsError, match=r"policy\.safetensors"):
        load_agent(tmp_path, model.policy, venv.env.episode.srm)
    torn = tmp_path / "checkpoint.pt"
    torn.write_bytes(b"not a checkpoint")
    with pytest.raises(WeightsError, match=r"checkpoint\.pt"):
        load_checkpoint(torn, model, venv.env)


def test_checkpoints_hold_no_code(tmp_path):
    train(ROLLOUT, tmp_path / "c.pt")
    torch.load(tmp_path / "c.pt", weights_only=True)
