"""The state of a training on disk: weights, optimizer, random generators, episodes, replay buffer and curves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from torch import Tensor

import alignsam_gym
from alignsam_gym.envs.alignsam_vector_env import AlignSAMVectorEnv
from alignsam_gym.errors import AlignSAMError, WeightsError, first_line
from alignsam_gym.weight_files import check_finite

CHECKPOINT = "checkpoint.pt"
"""The file's name in the folder of a run."""

_FORMAT = 3  # to raise whenever an older file can no longer be read; files of version 0.1.0 have no number
_COUNTERS = ("num_timesteps", "_n_updates", "_n_calls", "_episode_num", "exploration_rate")
_REPLAY_ARRAYS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


@dataclass(frozen=True)
class Curves:
    """What `EpisodeStatistics` has found so far.

    Attributes:
        history: The means of each round.
        steps: By name, float64 (num_envs,), of each step in the round that has not ended.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    steps: list[dict[str, NDArray[np.float64]]] = field(default_factory=list)


def save_training_state(path: Path, model: BaseAlgorithm, env: AlignSAMVectorEnv, curves: Curves) -> None:
    """Write everything that a training needs to go on. The file is replaced in one step.

    Args:
        path: The file to write.
        model: The learner, between two rollouts.
        env: The environment that it plays.
        curves: The curves so far.

    Raises:
        WeightsError: The file cannot be written. The one that was there before is kept.
    """
    assert model._last_episode_starts is not None
    state = {
        "format": _FORMAT,
        "version": alignsam_gym.__version__,
        "counters": {name: getattr(model, name) for name in _COUNTERS if hasattr(model, name)},
        "policy": model.policy.state_dict(),
        "optimizer": model.policy.optimizer.state_dict(),
        "episode_starts": model._last_episode_starts.tolist(),
        "lstm_states": [list(pair) for pair in getattr(model, "_last_lstm_states", None) or ()],
        "environment": env.state_dict(),
        "history": curves.history,
        "steps": [_plain(step) for step in curves.steps],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all(),
        "mps": torch.mps.get_rng_state() if torch.backends.mps.is_available() else None,
        "numpy": _plain(np.random.get_state(legacy=False)),
    }
    if isinstance(model, OffPolicyAlgorithm):
        assert model.replay_buffer is not None
        state["replay"] = _replay_state(model.replay_buffer)
    partial = path.with_suffix(".partial")
    try:
        torch.save(state, partial)
        partial.replace(path)
    except (OSError, RuntimeError) as error:  # torch.save raises RuntimeError when the disk is full
        partial.unlink(missing_ok=True)
        raise WeightsError(
            f"{path} cannot be written ({error}); is the disk full? Training can go on from what was written before."
        ) from error


def check_training_state(path: Path) -> None:
    """Check that this version can read a file of `save_training_state`, before anything is made for it.

    Raises:
        WeightsError: The file cannot be read, is damaged, or is of another version.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)  # which reads no tensors yet
    except (FileNotFoundError, PermissionError) as error:
        raise WeightsError(f"{path} cannot be read ({error}).") from error
    except Exception as error:  # torch.load names no narrower class for a damaged file; some are OSErrors
        raise WeightsError(
            f"{path} is damaged; remove it, and the training begins anew ({first_line(error)})."
        ) from error
    if not isinstance(state, dict) or state.get("format") != _FORMAT:
        version = state.get("version", "0.1.0") if isinstance(state, dict) else "0.1.0"
        raise WeightsError(
            f"{path} is the training state of alignsam-gym {version}, which this version cannot read: go on with "
            f"{version}, or train again in another folder."
        )


def load_training_state(path: Path, model: BaseAlgorithm, env: AlignSAMVectorEnv) -> Curves:
    """Put a learner and its environment into the state that `save_training_state` wrote.

    Args:
        path: The file to read.
        model: A learner made with the same configuration.
        env: The environment that it plays.

    Returns:
        The curves so far.

    Raises:
        WeightsError: The file is damaged, of another version, of another configuration, or holds a policy whose
            weights are NaN or infinite.
        DataError: The labelled images are others than before, or cannot be loaded any more.
    """
    check_training_state(path)
    try:
        # On the CPU, from where all is copied: Adam's counts of steps belong there, where nobody waits to read them.
        state = torch.load(path, map_location="cpu", weights_only=True)
        check_finite(path, state["policy"])
        model.policy.load_state_dict(state["policy"])
        model.policy.optimizer.load_state_dict(state["optimizer"])
        env.load_state_dict(state["environment"])
        _restore_learner(model, env, state)
        _restore_generators(state)
        steps = [{name: np.array(values, float) for name, values in step.items()} for step in state["steps"]]
        curves = Curves(state["history"], steps)
    except AlignSAMError:  # about the weights, or the environment's own, about its images
        raise
    except Exception as error:  # parts that are missing, or have other shapes
        raise WeightsError(
            f"{path} is not a checkpoint of this configuration ({error}); begin in another folder, or go on by the "
            f"configuration there with resume={path.parent}."
        ) from error
    return curves


def _restore_learner(model: BaseAlgorithm, env: AlignSAMVectorEnv, state: dict[str, Any]) -> None:
    """Counters, replay buffer, and what SB3 keeps between two rollouts."""
    for name, value in state["counters"].items():
        setattr(model, name, value)
    if isinstance(model, OffPolicyAlgorithm):
        assert model.replay_buffer is not None
        _restore_replay(model.replay_buffer, state["replay"])
    model._last_obs = env.observe()
    model._last_episode_starts = np.array(state["episode_starts"], bool)
    if state["lstm_states"]:
        pairs = [tuple(part.to(model.device) for part in pair) for pair in state["lstm_states"]]
        model._last_lstm_states = type(model._last_lstm_states)(*pairs)  # type: ignore[attr-defined]


def _restore_generators(state: dict[str, Any]) -> None:
    """The global generators of PyTorch and NumPy, which SB3 draws from."""
    torch.set_rng_state(state["torch"])
    if len(state["cuda"]) == torch.cuda.device_count():  # on another machine a policy draws other actions
        torch.cuda.set_rng_state_all(state["cuda"])
    if state["mps"] is not None and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"])
    generator = state["numpy"]
    generator["state"]["key"] = np.asarray(generator["state"]["key"], np.uint32)
    np.random.set_state(generator)


def _replay_state(buffer: ReplayBuffer) -> dict[str, Any]:
    """The transitions that a replay buffer holds, and where the next one goes."""
    filled = buffer.size()
    state: dict[str, Any] = {"pos": buffer.pos, "full": buffer.full}
    for name, array in _replay_arrays(buffer):
        state[name] = torch.from_numpy(array[:filled])
    return state


def _restore_replay(buffer: ReplayBuffer, state: dict[str, Any]) -> None:
    buffer.pos = state["pos"]
    buffer.full = state["full"]
    for name, array in _replay_arrays(buffer):
        rows: Tensor = state[name]
        array[: len(rows)] = rows.numpy()


def _replay_arrays(buffer: ReplayBuffer) -> Iterator[tuple[str, NDArray[Any]]]:
    """Names and arrays of a replay buffer, whose observations may be one array or a dict of arrays."""
    for name in _REPLAY_ARRAYS:
        value = getattr(buffer, name)
        if isinstance(value, dict):
            for key, array in value.items():
                yield f"{name}.{key}", array
        else:
            yield name, value


def _plain(state: Any) -> Any:
    """Arrays as lists, so that loading needs no trust in the file."""
    if isinstance(state, dict):
        return {name: _plain(value) for name, value in state.items()}
    return state.tolist() if isinstance(state, np.ndarray) else state
