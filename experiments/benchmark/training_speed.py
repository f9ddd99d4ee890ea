"""Rollouts and what is learned from them: PPO on our environments, and on the reference implementation's."""

from __future__ import annotations

import tempfile
from functools import partial
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from alignsam_gym.agents.algorithms import make_learner
from alignsam_gym.agents.vec_env import PromptVecEnv
from alignsam_gym.envs.alignsam_vector_env import AlignSAMVectorEnv
from alignsam_gym.experiments.benchmark.environment_speed import SRM, STEPS, our_environments
from alignsam_gym.experiments.benchmark.models import Scenes, Setting, benchmark_model
from alignsam_gym.experiments.benchmark.reference_implementation import reference_environments, reference_ppo
from alignsam_gym.experiments.benchmark.timing import alternate, statistics
from alignsam_gym.result_table import ResultTable

PPO_OPTIONS: dict[str, Any] = {"algorithm": "ppo", "n_epochs": 10, "batch_size": 120, "learning_rate": 2e-4}
NETWORK: dict[str, Any] = {"network": "patch", "width": 32}


def time_training(setting: Setting) -> dict[str, Any]:
    """Time a step's share of rollout, SRM and PPO's update.

    The ratio is the reference implementation's time over ours.
    """
    environments, rounds, steps = (2, 1, 2) if setting.quick else (16, 3, STEPS)
    model, data = benchmark_model(setting.sam, setting.device, encoder=False), Scenes(environments)
    count = environments * steps
    with tempfile.TemporaryDirectory() as cache:
        ours = our_learner(our_environments(model, data, environments, steps, cache_dir=cache), steps)
        reference_envs = reference_environments(model, data, environments, steps, SRM)
        reference = reference_ppo(reference_envs, PPO_OPTIONS | {"n_steps": steps}, NETWORK["width"])
        assert isinstance(ours, OnPolicyAlgorithm)
        strategies: dict[str, OnPolicyAlgorithm] = {"ours": ours, "reference": reference}
        seconds = alternate(
            {name: partial(_rollout, ppo, count) for name, ppo in strategies.items()}, rounds, model.device
        )
        updates = alternate({name: ppo.train for name, ppo in strategies.items()}, rounds, model.device)
    whole, update = statistics(seconds, count), statistics(updates, count)
    rows = []
    for name in strategies:
        cells = (f"{found[name]['median']:.1f} ± {found[name]['spread']:.1f}" for found in (whole, update))
        rows.append([name, *cells])
    title = f"{environments} environments, {steps} steps, {setting.sam}"
    ResultTable(["implementation", "ms a step", "of it PPO's update"], rows, title).print()
    return {
        "ratio": whole["ratio"],
        "what": "the reference implementation's time over ours",
        "whole": whole,
        "update": update,
    }


def our_learner(envs: AlignSAMVectorEnv, steps: int) -> BaseAlgorithm:
    """Return PPO on our environments, with `PPO_OPTIONS`; a minibatch has at most the steps of one rollout.

    Args:
        envs: From `our_environments`.
        steps: Of each environment in a rollout.
    """
    batch_size = min(PPO_OPTIONS["batch_size"], envs.num_envs * steps)
    options = PPO_OPTIONS | {"n_steps": steps, "batch_size": batch_size}
    return make_learner(PromptVecEnv(envs), options, NETWORK, seed=0)


def _rollout(ppo: OnPolicyAlgorithm, steps: int) -> None:
    ppo.learn(steps, reset_num_timesteps=False)
