"""Where a training stands, on disk: weights, optimiser, generators, episodes, replay buffer, curves."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from alignsam_gym.envs.alignsam_vector_env import AlignSAMVectorEnv
from alignsam_gym.errors import AlignSAMError, WeightsError

CHECKPOINT = "checkpoint.pt"
_COUNTS = ("num_timesteps", "_n_updates", "_n_calls", "_episode_num", "exploration_rate")
_REPLAYED = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


def save_checkpoint(path: Path, model: BaseAlgorithm, env: AlignSAMVectorEnv, history: list[dict[str, float]]) -> None:
    """Write all that training goes on from, atomically. Raises WeightsError, and keeps what was there before."""
    assert model._last_episode_starts is not None
    state = {
        "counts": {name: getattr(model, name) for name in _COUNTS if hasattr(model, name)},
        "policy": model.policy.state_dict(),
        "optimizer": model.policy.optimizer.state_dict(),
        "starts": model._last_episode_starts.tolist(),
        "memory": [list(pair) for pair in getattr(model, "_last_lstm_states", None) or ()],
        "environment": env.state_dict(),
        "history": history,
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all(),
        "numpy": _plain(np.random.get_state(legacy=False)),
        "python": random.getstate(),
    }
    if isinstance(model, OffPolicyAlgorithm):
        assert model.replay_buffer is not None
        state["replay"] = _replay_state(model.replay_buffer)
    partial = path.with_suffix(".partial")
    try:
        torch.save(state, partial)
        partial.replace(path)
    except (OSError, RuntimeError) as error:  # the second is torch's, of a full disk
        partial.unlink(missing_ok=True)
        raise WeightsError(
            f"{path} cannot be written ({error}); is the disk full? Training can go on from what was written before."
        ) from error


def load_checkpoint(path: Path, model: BaseAlgorithm, env: AlignSAMVectorEnv) -> list[dict[str, float]]:
    """Put model and environment where `save_checkpoint` left them; returns the curves. Raises WeightsError."""
    try:
        state = torch.load(path, map_location=model.device, weights_only=True)
        model.policy.load_state_dict(state["policy"])
        model.policy.optimizer.load_state_dict(state["optimizer"])
        env.load_state_dict(state["environment"])
        _restore(model, env, state)
    except AlignSAMError:  # of an image that cannot be loaded any more
        raise
    except Exception as error:  # torch.load names no narrower class for a damaged file
        raise WeightsError(
            f"{path} is not a checkpoint of this configuration ({error}); begin in another folder, or go on by the "
            f"configuration there with resume={path.parent}."
        ) from error
    return state["history"]


def _restore(model: BaseAlgorithm, env: AlignSAMVectorEnv, state: dict[str, Any]) -> None:
    """Counts, buffers and generators."""
    for name, value in state["counts"].items():
        setattr(model, name, value)
    if isinstance(model, OffPolicyAlgorithm):
        assert model.replay_buffer is not None
        _restore_replay(model.replay_buffer, state["replay"])
    model._last_obs = env.observe()
    model._last_episode_starts = np.array(state["starts"], bool)
    if state["memory"]:
        model._last_lstm_states = type(model._last_lstm_states)(*map(tuple, state["memory"]))  # type: ignore[attr-defined]
    torch.set_rng_state(state["torch"].cpu())
    if len(state["cuda"]) == torch.cuda.device_count():  # gone on with elsewhere, a policy's draws are others
        torch.cuda.set_rng_state_all([generator.cpu() for generator in state["cuda"]])
    generator = state["numpy"]
    generator["state"]["key"] = np.asarray(generator["state"]["key"], np.uint32)
    np.random.set_state(generator)
    random.setstate(state["python"])


def _replay_state(buffer: ReplayBuffer) -> dict[str, Any]:
    """The transitions that a replay buffer holds, and where the next one goes."""
    filled = buffer.size()
    held = {name: _map(lambda array: torch.from_numpy(array[:filled]), getattr(buffer, name)) for name in _REPLAYED}
    return {"pos": buffer.pos, "full": buffer.full, **held}


def _restore_replay(buffer: ReplayBuffer, state: dict[str, Any]) -> None:
    buffer.pos, buffer.full = state["pos"], state["full"]
    for name in _REPLAYED:
        arrays, held = getattr(buffer, name), state[name]
        for array, rows in [(arrays[key], held[key]) for key in held] if isinstance(held, dict) else [(arrays, held)]:
            array[: len(rows)] = rows.cpu().numpy()


def _map(change: Callable[[np.ndarray], Any], value: Any) -> Any:
    """`change` of an array, or of each in a mapping."""
    return {name: change(part) for name, part in value.items()} if isinstance(value, dict) else change(value)


def _plain(state: Any) -> Any:
    """Arrays as lists, so that loading needs no trust in the file."""
    if isinstance(state, dict):
        return {name: _plain(value) for name, value in state.items()}
    return state.tolist() if isinstance(state, np.ndarray) else state
