"""Observation and action spaces, and the observations and infos themselves."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from alignsam_gym.envs.cell_states import cell_maps, form_cell_states
from alignsam_gym.envs.episode import Episode
from alignsam_gym.envs.initial_prompts import INITIAL_PROMPTS
from alignsam_gym.envs.patch_evidence import EVIDENCE_CHANNELS
from alignsam_gym.errors import OptionError
from alignsam_gym.foundation.devices import to_host
from alignsam_gym.foundation.sam.batched_decoder import PADDING
from alignsam_gym.state import state_channels

_BOUND = float(np.finfo(np.float16).max)  # embeddings are rounded to float16, so none lies beyond


def observation_space(episode: Episode, observation: str) -> spaces.Space[Any]:
    """Make the space of one row's observation, as `AlignSAMEnv` describes each kind."""
    state, side = episode.rules.state, episode.rules.grid.side
    width, *embedding_size = episode.model.embedding_shape
    channels = state_channels(state, width)
    if observation == "state":
        return spaces.Box(-_BOUND, _BOUND, (channels, *embedding_size), np.float32)
    visited: dict[str, spaces.Space[Any]] = {}
    if episode.rules.revisit == "forbid":
        visited = {"visited": spaces.MultiBinary(episode.rules.grid.count)}
    if observation == "cells":
        grid = tuple(episode.mask.shape[1:])
        states = spaces.Box(-_BOUND, _BOUND, (channels, *grid), np.float16)
        maps = spaces.Box(0, 1, (1 + (state == "guided"), *grid), np.float16)
        image = spaces.Box(0, np.iinfo(np.int32).max, (1,), np.int64)
        return spaces.Dict({"state": states, "image": image, "maps": maps, **visited})
    seen: spaces.Box[Any]
    if observation == "evidence":
        seen = spaces.Box(-1, 1, (len(EVIDENCE_CHANNELS), side, side), np.float32)
    else:
        seen = spaces.Box(-_BOUND, _BOUND, (channels + 2 * (state == "guided"), side, side), np.float16)
    return spaces.Dict({observation: seen, **visited}) if visited else seen


def action_space(episode: Episode) -> spaces.Discrete:
    """Make the space of one row's actions: the patches, and stopping where the rules have it."""
    return spaces.Discrete(episode.actions)


class StepOutcome(NamedTuple):
    """What a step led to, on the CPU.

    Attributes:
        observation: Every row's, a batch of `observation_space`.
        rewards: float64 (B,), of the last action; 0 where the agent has stopped.
        infos: As `infos_of` returns them.
    """

    observation: Any
    rewards: np.ndarray
    infos: dict[str, np.ndarray]


def outcome_of(episode: Episode, observation: str) -> StepOutcome:
    """Read what the last step led to. This is the one place at which an environment's step waits for the device."""
    read = to_host(_observation_tensors(episode, observation) | _info_tensors(episode) | {"gain": episode.gains})
    rewards = episode.rules.rewards(episode.hit.numpy(), read["gain"])
    rewards[episode.stopped.numpy()] = 0.0
    return StepOutcome(_observation(episode, observation, read), rewards, _infos(episode, read))


def observe(episode: Episode, observation: str) -> Any:
    """Return every row's observation, as a batch of `observation_space`."""
    return _observation(episode, observation, to_host(_observation_tensors(episode, observation)))


def infos_of(episode: Episode) -> dict[str, np.ndarray]:
    """Return what `info` tells of each row, as the environment's page lists it."""
    return _infos(episode, to_host(_info_tensors(episode)))


def _observation_tensors(episode: Episode, observation: str) -> dict[str, Tensor]:
    """Compute what an observation has from the device."""
    match observation:
        case "state":
            return {"state": episode.states()}
        case "cells":
            maps = cell_maps(episode)
            return {"state": form_cell_states(episode.rules.state, episode.embeddings, maps), "maps": maps}
        case "evidence":
            return {"evidence": episode.evidence()}
    return {"patches": episode.patches().half()}


def _info_tensors(episode: Episode) -> dict[str, Tensor]:
    """Look up what infos have from the device."""
    rows = torch.arange(len(episode))
    latest = torch.where(episode.steps > 0, INITIAL_PROMPTS + episode.steps - 1, 0)
    return {
        "point": episode.points[rows, latest],
        "label": episode.labels[rows, latest],
        "iou": episode.iou.clone(),
    }


def _observation(episode: Episode, observation: str, read: Mapping[str, np.ndarray]) -> Any:
    if observation == "state":
        return read["state"]
    visited = {}
    if episode.rules.revisit == "forbid":
        visited = {"visited": episode.visited.numpy().astype(np.int8)}
    if observation == "cells":
        image = episode.index[:, None].numpy().copy()
        return {"state": read["state"], "image": image, "maps": read["maps"], **visited}
    return {observation: read[observation], **visited} if visited else read[observation]


def _infos(episode: Episode, read: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    ids = episode.encoded.dataset.ids
    return {
        "point": read["point"],
        "label": np.where(episode.stopped.numpy(), PADDING, read["label"]),
        "foreground": episode.hit.numpy().copy(),
        "repeated": episode.repeated.numpy().copy(),
        "iou": read["iou"],
        "index": episode.index.numpy().copy(),
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


def reset_options(options: Any, known: Collection[str]) -> dict[str, Any]:
    """Check what a user gave as ``reset(options=…)``; None is no options.

    Raises:
        OptionError: It is not a dictionary of these names.
    """
    options = {} if options is None else options
    names = " and ".join(known)
    if not isinstance(options, dict):
        raise OptionError(f"options={options!r}: reset takes a dictionary, of {names}.")
    if unknown := options.keys() - set(known):
        raise OptionError(f"reset has no option {', '.join(sorted(map(str, unknown)))}; it takes {names}.")
    return options
