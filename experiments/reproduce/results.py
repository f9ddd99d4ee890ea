"""What the runs behind a cell measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from alignsam_gym.errors import DataError
from alignsam_gym.evaluation.intervals import METRICS, interval, read_metrics
from alignsam_gym.experiments.reproduce.plan import EACH, Cell, Table
from alignsam_gym.experiments.reproduce.task_runs import Runs

SCALES = {"ber_percent": 1.0, "mae": 1.0}
"""What a figure is multiplied by to be as the paper prints it; 100 unless it is here."""


@dataclass(frozen=True)
class Measured:
    """A cell's figure, as the paper prints it.

    values: by seed. images: by seed, of each image, by id, if the figure is a mean over images and kept for each.
    failures: by seed, why there is none.
    """

    values: Mapping[int, float]
    images: Mapping[int, Mapping[str, float]]
    failures: Mapping[int, str]

    @property
    def mean(self) -> float:
        return float(np.mean(list(self.values.values())))

    @property
    def spread(self) -> float:
        """The standard deviation over seeds."""
        return float(np.std(list(self.values.values())))

    @property
    def whole(self) -> bool:
        """Whether there is each image's part for every seed."""
        return self.images.keys() == self.values.keys()

    def interval(self, resamples: int) -> tuple[float, float] | None:
        """95%, over seeds and images, or over seeds alone; None where these are one, or all alike."""
        values = samples([(1.0, self)])
        alike = not self.whole and len(set(self.values.values())) == 1
        return None if alike or is_single(values) else interval(values, resamples)


def is_single(runs: Sequence[Mapping[str, float]]) -> bool:
    """Whether there is nothing to resample."""
    return len(runs) == 1 and len(runs[0]) == 1


def samples(terms: Sequence[tuple[float, Measured]]) -> list[dict[str, float]]:
    """A weighted sum for each seed that all terms have: of each image, by id, or a single one if these are not kept."""
    shared = sorted(set.intersection(*(set(measured.values) for _, measured in terms)))
    if not all(measured.whole for _, measured in terms):
        return [{"": sum(weight * measured.values[seed] for weight, measured in terms)} for seed in shared]
    found = []
    for seed in shared:
        ids = set.intersection(*(set(measured.images[seed]) for _, measured in terms))
        found.append({name: sum(w * measured.images[seed][name] for w, measured in terms) for name in sorted(ids)})
    return found


class Results:
    """Reads the folders of `runs`. failures: of folders that could not be filled, the reason."""

    def __init__(self, runs: Runs, failures: Mapping[Path, str]) -> None:
        self.runs, self.failures = runs, failures
        self._read = cache(_read)

    def of(self, cell: Cell) -> Measured:
        values: dict[int, float] = {}
        images: dict[int, Mapping[str, float]] = {}
        failures: dict[int, str] = {}
        scale = SCALES.get(cell.figure, 100.0)
        for seed in self.runs.config.seeds:
            folder = self.runs.of(cell, seed).folder
            if folder in self.failures:
                failures[seed] = self.failures[folder]
                continue
            try:
                metrics = self._read(folder)
                figure = figure_of(cell, metrics["prompting"][cell.way])
            except KeyError as error:
                failures[seed] = f"{folder / METRICS} has no {error}"
                continue
            except DataError as error:
                failures[seed] = str(error)
                continue
            if figure is None:
                failures[seed] = f"{cell.way} prompted no image"
                continue
            values[seed] = scale * figure
            if (cell.figure, cell.average, cell.step) == ("iou", "over_images", None):
                images[seed] = {name: scale * iou for name, iou in metrics["iou_by_image"][cell.way].items()}
        return Measured(values, images, failures)

    def expand(self, table: Table) -> Table:
        """With the categories that every finished run of the table knows."""
        known = []
        for cell in table.cells.values():
            for seed in self.runs.config.seeds if cell.category == EACH else ():
                folder = self.runs.of(cell, seed).folder
                if folder not in self.failures:
                    with suppress(KeyError, DataError):  # which `of` tells
                        known.append(set(self._read(folder)["prompting"][cell.way]["metrics"].get("by_category", ())))
        return table.for_categories(sorted(set.intersection(*known)) if known else [])


def figure_of(cell: Cell, summary: Mapping[str, Any]) -> float | None:
    """A cell's figure of `PromptingScores.summary`; None of an FR if nothing was prompted. Raises KeyError."""
    if cell.figure == "foreground_rate":
        return summary["foreground_rate"]
    if cell.step is None:
        found = summary["metrics"][cell.average]
        return found[cell.category][cell.figure] if cell.category else found[cell.figure]
    if cell.average == "over_images":
        return summary["miou_by_step"][cell.step]
    curves = summary["iou_by_category_by_step"]
    return (
        curves[cell.category][cell.step] if cell.category else float(np.mean([c[cell.step] for c in curves.values()]))
    )


def _read(folder: Path) -> dict[str, Any]:
    return read_metrics(folder / METRICS)
