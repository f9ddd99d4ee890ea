"""Observation and action spaces, and the observations themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from alignsam_gym.envs.episode import Episode
from alignsam_gym.errors import OptionError

_BOUND = float(np.finfo(np.float16).max)  # embeddings are rounded to float16, so none lies beyond


def observation_space(episode: Episode, observation: str) -> spaces.Space[Any]:
    """Make the space of one row's observation, ``state`` or ``patches``, as `AlignSAMEnv` describes them."""
    if observation == "state":
        return spaces.Box(-_BOUND, _BOUND, episode.state_shape, np.float32)
    patches = spaces.Box(-_BOUND, _BOUND, episode.patches_shape, np.float16)
    if episode.rules.revisit == "allow":
        return patches
    return spaces.Dict({"patches": patches, "visited": spaces.MultiBinary(episode.rules.grid.count)})


def action_space(episode: Episode) -> spaces.Discrete:
    """Make the space of one row's actions: the patches, and stopping where the rules have it."""
    return spaces.Discrete(episode.actions)


def observe(episode: Episode, observation: str) -> Any:
    """Return every row's observation, as a batch of `observation_space`."""
    if observation == "state":
        return episode.states().cpu().numpy()
    patches = episode.patches().half().cpu().numpy()
    if episode.rules.revisit == "allow":
        return patches
    return {"patches": patches, "visited": episode.visited.cpu().numpy().astype(np.int8)}


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
