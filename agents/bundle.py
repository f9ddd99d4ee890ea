"""Saving and loading: the finished agent without pickle, and checkpoints from which training goes on."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from agents.policies import PromptPolicy
from alignsam_gym.envs.vector import AlignSAMVectorEnv
from alignsam_gym.errors import WeightsError
from alignsam_gym.srm import SRM

POLICY, SRM_WEIGHTS, CHECKPOINT = "policy.safetensors", "srm.safetensors", "checkpoint.pt"


def save_agent(folder: Path, policy: PromptPolicy, srm: SRM) -> None:
    """Write policy and SRM into `folder`, for `load_agent`."""
    save_model(policy, str(folder / POLICY))  # which knows that SB3's three names of the extractor are one
    srm.save(folder / SRM_WEIGHTS)


def load_agent(folder: Path, policy: PromptPolicy, srm: SRM) -> None:
    """Read what `save_agent` wrote into a policy and an SRM of the same shape. Raises WeightsError."""
    try:
        load_model(policy, folder / POLICY)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise WeightsError(
            f"{folder / POLICY} does not hold this agent ({error}); has its training finished?"
        ) from error
    srm.load_weights(folder / SRM_WEIGHTS)


def save_checkpoint(
    path: Path, model: OnPolicyAlgorithm, env: AlignSAMVectorEnv, history: list[dict[str, float]]
) -> None:
    """Write all that training goes on from, atomically: weights, optimisers, generators, episodes, curves."""
    state = {
        "timesteps": model.num_timesteps,
        "updates": model._n_updates,
        "policy": model.policy.state_dict(),
        "optimizer": model.policy.optimizer.state_dict(),
        "environment": env.state_dict(),
        "history": history,
        "torch": torch.get_rng_state(),
        "numpy": _plain(np.random.get_state(legacy=False)),
        "python": random.getstate(),
    }
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def load_checkpoint(path: Path, model: OnPolicyAlgorithm, env: AlignSAMVectorEnv) -> list[dict[str, float]]:
    """Put model and environment where `save_checkpoint` left them; returns the curves. Raises WeightsError."""
    try:
        state = torch.load(path, map_location=model.device, weights_only=True)
        model.policy.load_state_dict(state["policy"])
        model.policy.optimizer.load_state_dict(state["optimizer"])
    except Exception as error:  # torch.load names no narrower class for a damaged file
        raise WeightsError(f"{path} is not a checkpoint of this configuration ({error}).") from error
    model.num_timesteps, model._n_updates = state["timesteps"], state["updates"]
    env.load_state_dict(state["environment"])
    model._last_obs = env.observe()
    model._last_episode_starts = np.ones(env.num_envs, bool)
    torch.set_rng_state(state["torch"].cpu())
    generator = state["numpy"]
    generator["state"]["key"] = np.asarray(generator["state"]["key"], np.uint32)
    np.random.set_state(generator)
    random.setstate(state["python"])
    return state["history"]


def _plain(state: Any) -> Any:
    """Arrays as lists, so that loading needs no trust in the file."""
    if isinstance(state, dict):
        return {name: _plain(value) for name, value in state.items()}
    return state.tolist() if isinstance(state, np.ndarray) else state
