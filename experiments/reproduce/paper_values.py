"""The numbers that the paper printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf


@dataclass(frozen=True)
class PrintedTable:
    """One table of the paper.

    Attributes:
        columns: Their names, as in `plan`.
        rows: By the paper's name of the row, a number for each column.
        here: The paper's row -> the row of ours that is the same thing.
    """

    columns: Sequence[str] = ()
    rows: Mapping[str, Sequence[float]] = field(default_factory=dict)
    here: Mapping[str, str] = field(default_factory=dict)

    def by_place(self) -> dict[tuple[str, str], float]:
        """Return each number by row and column."""
        numbers = {}
        for row, values in self.rows.items():
            for column, value in zip(self.columns, values, strict=True):
                numbers[row, column] = value
        return numbers


def printed(number: int | str) -> PrintedTable:
    """Return a table of the paper; an empty one if the paper does not have it."""
    return PrintedTable(**_all().get(number, {}))


@cache
def _all() -> dict[Any, Any]:
    return OmegaConf.to_container(OmegaConf.load(Path(__file__).with_name("paper.yaml")))  # type: ignore[return-value]
