"""What the runs behind a cell measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alignsam_gym.agents.metrics_file import read_metrics
from alignsam_gym.agents.trained_run import METRICS_FILE
from alignsam_gym.errors import DataError
from alignsam_gym.evaluation.intervals import interval, sample_deviation
from alignsam_gym.experiments.reproduce.plan import EACH, PlannedCell, PlannedTable
from alignsam_gym.experiments.reproduce.planned_runs import PlannedRuns

SCALES = {"ber_percent": 1.0, "mae": 1.0}
"""What a metric is multiplied by to be as the paper prints it; 100 unless it is here."""


@dataclass(frozen=True)
class MeasuredCell:
    """A cell's metric, as the paper prints it.

    Attributes:
        values: By seed.
        images: By seed, the metric of each image by its id, if it is a mean over images and kept for each.
        failures: By seed, why there is no value.
    """

    values: Mapping[int, float]
    images: Mapping[int, Mapping[str, float]]
    failures: Mapping[int, str]

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return float(np.mean(list(self.values.values())))

    @property
    def spread(self) -> float:
        """The sample standard deviation over seeds; NaN if there is one."""
        return sample_deviation(list(self.values.values()))

    @property
    def has_images(self) -> bool:
        """Whether there is each image's part for every seed."""
        return self.images.keys() == self.values.keys()

    def interval(self, resamples: int) -> tuple[float, float] | None:
        """Return the 95% interval over seeds and images, or over seeds alone.

        There is none where nothing can be resampled, or where seeds alone could differ and do not.
        """
        runs = paired_sums([(1.0, self)])
        alike = not self.has_images and len(set(self.values.values())) == 1
        return None if alike or is_single(runs) else interval(runs, resamples)


def is_single(runs: Sequence[Mapping[str, float]]) -> bool:
    """Whether there is nothing to resample: one run with one value."""
    return len(runs) == 1 and len(runs[0]) == 1


def paired_sums(terms: Sequence[tuple[float, MeasuredCell]]) -> list[dict[str, float]]:
    """Add up cells, seed by seed and image by image.

    Args:
        terms: Cells with their weights.

    Returns:
        For each seed in which all cells have images in common, the weighted sum of each image by its id; a single sum
        if a cell's images are not kept.
    """
    seeds = sorted(set.intersection(*(set(cell.values) for _, cell in terms)))
    if not all(cell.has_images for _, cell in terms):
        return [{"": sum(weight * cell.values[seed] for weight, cell in terms)} for seed in seeds]
    sums = []
    for seed in seeds:
        ids = set.intersection(*(set(cell.images[seed]) for _, cell in terms))
        if ids:
            sums.append({id: sum(weight * cell.images[seed][id] for weight, cell in terms) for id in sorted(ids)})
    return sums


class CellReader:
    """Reads the cells' metrics from the folders of runs.

    Attributes:
        runs: Behind the cells.
        failures: Of folders that could not be filled, the reason.
    """

    def __init__(self, runs: PlannedRuns, failures: Mapping[Path, str]) -> None:
        self.runs, self.failures = runs, failures
        self._metrics: dict[Path, dict[str, Any]] = {}

    def read_cell(self, cell: PlannedCell) -> MeasuredCell:
        """Read a cell's metric for every seed."""
        values: dict[int, float] = {}
        images: dict[int, Mapping[str, float]] = {}
        failures: dict[int, str] = {}
        scale = SCALES.get(cell.metric, 100.0)
        for seed in self.runs.config.seeds:
            try:
                metrics = self._read(cell, seed)
                value = find_metric(cell, metrics["prompting"][cell.strategy])
            except KeyError as error:
                failures[seed] = f"{self.runs.find(cell, seed).folder / METRICS_FILE} has no {error}"
                continue
            except DataError as error:
                failures[seed] = str(error)
                continue
            if value is None:
                failures[seed] = f"{cell.strategy} prompted no image"
                continue
            values[seed] = scale * value
            if (cell.metric, cell.average, cell.step) == ("iou", "over_images", None):
                ious = metrics["iou_by_image"][cell.strategy]
                images[seed] = {id: scale * iou for id, iou in ious.items()}
        return MeasuredCell(values, images, failures)

    def expand(self, table: PlannedTable) -> PlannedTable:
        """Return the table with the categories that every finished run of it knows."""
        known = []
        for cell in table.cells.values():
            if cell.category != EACH:
                continue
            for seed in self.runs.config.seeds:
                with suppress(KeyError, DataError):  # `read_cell` says why
                    metrics = self._read(cell, seed)["prompting"][cell.strategy]["metrics"]
                    known.append(set(metrics.get("by_category", ())))
        return table.for_categories(sorted(set.intersection(*known)) if known else [])

    def _read(self, cell: PlannedCell, seed: int) -> dict[str, Any]:
        """Return what the ``metrics.json`` behind a cell holds. Raises DataError for a run that failed, too."""
        folder = self.runs.find(cell, seed).folder
        if folder in self.failures:
            raise DataError(self.failures[folder])
        if folder not in self._metrics:
            self._metrics[folder] = read_metrics(folder / METRICS_FILE)
        return self._metrics[folder]


def find_metric(cell: PlannedCell, summary: Mapping[str, Any]) -> float | None:
    """Find a cell's metric in a summary.

    Args:
        cell: Says which.
        summary: As of `PromptingScores.summary`.

    Returns:
        The metric; None for an FR if nothing prompts step by step.

    Raises:
        KeyError: If the summary does not have it.
    """
    value: float | None
    if cell.metric == "foreground_rate":
        value = summary["foreground_rate"]
    elif cell.step is None:
        metrics = summary["metrics"][cell.average]
        value = metrics[cell.category][cell.metric] if cell.category else metrics[cell.metric]
    elif cell.average == "over_images":
        value = summary["miou_by_step"][cell.step]
    else:
        curves = summary["iou_by_category_by_step"]
        if cell.category:
            value = curves[cell.category][cell.step]
        else:
            value = float(np.mean([curve[cell.step] for curve in curves.values()]))
    return value
