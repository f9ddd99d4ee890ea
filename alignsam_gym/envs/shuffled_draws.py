"""Which image a row of episodes plays on next."""

from __future__ import annotations

import numpy as np

from alignsam_gym.data import Dataset
from alignsam_gym.errors import DataError


class ShuffledDraws:
    """Draws images for each row: every image comes once, in random order, before any comes again. [ours]

    Args:
        dataset: The images.
        rows: B.
    """

    def __init__(self, dataset: Dataset, rows: int) -> None:
        self.dataset = dataset
        self._waiting: list[list[int]] = [[] for _ in range(rows)]

    def draw(self, row: int, generator: np.random.Generator) -> int:
        """Draw the next image of a row.

        Raises:
            DataError: There are no images.
        """
        if not len(self.dataset):
            raise DataError(f"{self.dataset.name} has no samples.")
        if not self._waiting[row]:
            self._waiting[row] = generator.permutation(len(self.dataset)).tolist()
        return self._waiting[row].pop()

    def forget(self, row: int | None = None) -> None:
        """Let a row, or all, draw from all images again."""
        for each in range(len(self._waiting)) if row is None else [row]:
            self._waiting[each] = []

    def state(self) -> list[list[int]]:
        """Copy the images that each row has still to draw, for `load_state`."""
        return [list(order) for order in self._waiting]

    def load_state(self, state: list[list[int]]) -> None:
        """Go on from where `state` was called."""
        self._waiting = [list(order) for order in state]
