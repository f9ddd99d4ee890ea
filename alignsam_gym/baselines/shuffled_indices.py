"""The order in which labelled images are learned from."""

from __future__ import annotations

import torch
from torch import Tensor


class ShuffledIndices:
    """Shuffled passes over `count` images, one after another."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.generator = count, torch.Generator().manual_seed(seed)
        self.left = torch.empty(0, dtype=torch.int64)

    def draw(self, size: int) -> Tensor:
        """The next images' indices, int64 (size,)."""
        while len(self.left) < size:
            self.left = torch.cat([self.left, torch.randperm(self.count, generator=self.generator)])
        drawn, self.left = self.left[:size], self.left[size:]
        return drawn
