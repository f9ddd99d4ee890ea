"""Observation and action spaces, and the observations themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from alignsam_gym.envs.episode import Episode

OBSERVATIONS = ("state", "reference")
_BOUND = float(np.finfo(np.float16).max)  # embeddings are rounded to float16, so none lies beyond


def observation_space(episode: Episode, observation: str) -> spaces.Space[Any]:
    """The space of one row's observation; `AlignSAMEnv` documents both kinds."""
    if observation == "state":
        return spaces.Box(-_BOUND, _BOUND, episode.state_shape, np.float32)
    cells = episode.mask[0].numel()
    parts: dict[str, spaces.Space[Any]] = {
        "image": spaces.Box(0, len(episode.encoded) - 1, (1,), np.int64),
        "mask": spaces.Box(0.0, 1.0, (cells,), np.float32),
    }
    if episode.rules.state == "guided":
        parts["guide"] = spaces.Box(0.0, 1.0, (cells,), np.float32)
    if episode.rules.revisit == "forbid":
        parts["visited"] = spaces.MultiBinary(episode.rules.grid.count)
    return spaces.Dict(parts)


def action_space(episode: Episode) -> spaces.Discrete:
    return spaces.Discrete(episode.rules.grid.count)


def observe(episode: Episode, observation: str) -> Any:
    """Every row's observation, as a batch of `observation_space`."""
    if observation == "state":
        return episode.states().cpu().numpy()
    parts = {
        "image": episode.index[:, None].cpu().numpy().copy(),
        "mask": episode.mask.flatten(1).cpu().numpy().copy(),
    }
    if episode.rules.state == "guided":
        parts["guide"] = episode.guide.sigmoid().flatten(1).cpu().numpy()
    if episode.rules.revisit == "forbid":
        parts["visited"] = episode.visited.cpu().numpy().astype(np.int8)
    return parts
