"""Observation and action spaces, and the observations and infos themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from alignsam_gym.envs.cell_states import cell_maps, form_cell_states
from alignsam_gym.envs.episode import Episode
from alignsam_gym.envs.initial_prompts import INITIAL_PROMPTS
from alignsam_gym.envs.patch_evidence import EVIDENCE_CHANNELS
from alignsam_gym.errors import OptionError
from alignsam_gym.foundation.sam.batched_decoder import PADDING

_BOUND = float(np.finfo(np.float16).max)  # embeddings are rounded to float16, so none lies beyond


def observation_space(episode: Episode, observation: str) -> spaces.Space[Any]:
    """Make the space of one row's observation, as `AlignSAMEnv` describes each kind."""
    if observation == "state":
        return spaces.Box(-_BOUND, _BOUND, episode.state_shape, np.float32)
    visited: dict[str, spaces.Space[Any]] = {}
    if episode.rules.revisit == "forbid":
        visited = {"visited": spaces.MultiBinary(episode.rules.grid.count)}
    if observation == "cells":
        grid = tuple(episode.mask.shape[1:])
        states = spaces.Box(-_BOUND, _BOUND, (episode.state_shape[0], *grid), np.float16)
        maps = spaces.Box(0, 1, (1 + (episode.rules.state == "guided"), *grid), np.float16)
        image = spaces.Box(0, np.iinfo(np.int32).max, (1,), np.int64)
        return spaces.Dict({"state": states, "image": image, "maps": maps, **visited})
    seen: spaces.Box[Any]
    if observation == "evidence":
        side = episode.rules.grid.side
        seen = spaces.Box(-1, 1, (len(EVIDENCE_CHANNELS), side, side), np.float32)
    else:
        seen = spaces.Box(-_BOUND, _BOUND, episode.patches_shape, np.float16)
    return spaces.Dict({observation: seen, **visited}) if visited else seen


def action_space(episode: Episode) -> spaces.Discrete:
    """Make the space of one row's actions: the patches, and stopping where the rules have it."""
    return spaces.Discrete(episode.actions)


def observe(episode: Episode, observation: str) -> Any:
    """Return every row's observation, as a batch of `observation_space`."""
    if observation == "state":
        return episode.states().cpu().numpy()
    visited = {}
    if episode.rules.revisit == "forbid":
        visited = {"visited": episode.visited.cpu().numpy().astype(np.int8)}
    if observation == "cells":
        maps = cell_maps(episode)
        states = form_cell_states(episode.rules.state, episode.embeddings, maps)
        image = episode.index[:, None].cpu().numpy().copy()
        return {"state": states.cpu().numpy(), "image": image, "maps": maps.cpu().numpy(), **visited}
    seen = episode.evidence() if observation == "evidence" else episode.patches().half()
    return {observation: seen.cpu().numpy(), **visited} if visited else seen.cpu().numpy()


def infos_of(episode: Episode) -> dict[str, np.ndarray]:
    """Return what `info` tells of each row, as the environment's page lists it."""
    latest = torch.where(episode.steps > 0, INITIAL_PROMPTS + episode.steps - 1, 0)
    rows = torch.arange(len(episode), device=latest.device)
    ids = episode.encoded.dataset.ids
    return {
        "point": episode.points[rows, latest].cpu().numpy(),
        "label": episode.labels[rows, latest].where(~episode.stopped, PADDING).cpu().numpy(),
        "foreground": episode.hit.cpu().numpy().copy(),
        "repeated": episode.repeated.cpu().numpy().copy(),
        "iou": episode.iou.cpu().numpy().copy(),
        "index": episode.index.cpu().numpy().copy(),
        "image_id": np.array([ids[i] for i in episode.index.tolist()], dtype=object),
    }


def whole_numbers(name: str, value: Any, *shapes: tuple[int, ...]) -> np.ndarray:
    """Convert a user's value to an int64 array.

    Args:
        name: What the value is called, for the message.
        value: What the user gave.
        shapes: The shapes that it may have.

    Raises:
        OptionError: The value has another shape, or holds other things than whole numbers.
    """
    numbers = np.asarray(value)
    if numbers.dtype.kind not in "iu" or numbers.shape not in shapes:
        wanted = " or ".join(f"{shape[0]} whole numbers" if shape else "one whole number" for shape in shapes)
        raise OptionError(f"{name}={value!r}: it must be {wanted}.")
    return numbers.astype(np.int64)
