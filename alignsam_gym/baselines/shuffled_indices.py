"""The order in which baselines learn from the labelled images."""

from __future__ import annotations

import torch
from torch import Tensor


class ShuffledIndices:
    """An endless sequence of indices: one shuffled pass over `count` images after another.

    Args:
        count: The number of images.
        seed: Seed of the shuffling.

    Attributes:
        generator: The generator that shuffles, for what else the training draws.
    """

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.generator = count, torch.Generator().manual_seed(seed)
        self._left = torch.empty(0, dtype=torch.int64)

    def draw(self, size: int) -> Tensor:
        """Return the next `size` indices, int64 (size,)."""
        while len(self._left) < size:
            self._left = torch.cat([self._left, torch.randperm(self.count, generator=self.generator)])
        drawn, self._left = self._left[:size], self._left[size:]
        return drawn
