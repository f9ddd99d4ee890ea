"""A rollout buffer for agents that see whole states."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.buffers import DictRolloutBuffer
from stable_baselines3.common.type_aliases import DictRolloutBufferSamples
from torch import Tensor

STATE = "state"
"""The part of ``observation="cells"`` that is not kept."""


class CompactRolloutBuffer(DictRolloutBuffer):
    """Keeps the image's index and M of each state, 256 times less than the state, and forms it for each minibatch.

    Args:
        buffer_size: Steps of each environment.
        observation_space: The space of ``observation="cells"``.
        *args: As `DictRolloutBuffer` has them.
        **kwargs: The same.

    Attributes:
        form: Forms float16 (n, channels, g, g) of indices int64 (n,) and maps float16 (n, K, g, g). Whoever makes the
            buffer sets it.
    """

    form: Callable[[Tensor, Tensor], Tensor]

    def __init__(self, buffer_size: int, observation_space: spaces.Dict, *args: Any, **kwargs: Any) -> None:
        kept = {name: space for name, space in observation_space.items() if name != STATE}
        super().__init__(buffer_size, spaces.Dict(kept), *args, **kwargs)

    def _get_samples(self, batch_inds: np.ndarray, env: Any = None) -> DictRolloutBufferSamples:  # type: ignore[override]
        samples = super()._get_samples(batch_inds, env)
        seen = samples.observations
        return samples._replace(observations=seen | {STATE: self.form(seen["image"][:, 0], seen["maps"])})
