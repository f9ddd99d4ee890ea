"""The figures that the paper printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf


@dataclass(frozen=True)
class Printed:
    """One table of the paper.

    rows: by the paper's name of the row, a figure for each column. here: the paper's row -> the row of ours that is
    the same thing.
    """

    columns: Sequence[str] = ()
    rows: Mapping[str, Sequence[float]] = field(default_factory=dict)
    here: Mapping[str, str] = field(default_factory=dict)


def printed(number: int | str) -> Printed:
    """Empty for a table that the paper does not have."""
    return Printed(**_all().get(number, {}))


@cache
def _all() -> dict[Any, Any]:
    return OmegaConf.to_container(OmegaConf.load(Path(__file__).with_name("paper.yaml")))  # type: ignore[return-value]
