"""The file ``metrics.json`` that a measured run leaves in its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alignsam_gym.agents.trained_run import METRICS_FILE
from alignsam_gym.atomic_write import write_atomically
from alignsam_gym.data import Dataset
from alignsam_gym.errors import DataError
from alignsam_gym.metrics import PromptingScores, table_metrics

_ENTRIES = ("seed", "table", "iou_by_image")
_ENTRIES_OF_STRATEGY = ("images", "miou_by_step", "metrics")


def write_metrics(
    folder: Path, results: Mapping[str, PromptingScores], dataset: Dataset, extra: Mapping[str, Any]
) -> dict[str, Any]:
    """Write a run's `METRICS_FILE`.

    Args:
        folder: The run's folder.
        results: The scores by prompting strategy, or by the baseline's name.
        dataset: What was measured on.
        extra: Further entries, plain values.

    Returns:
        What the file holds: `extra`, ``measured_on`` (the data set's name), ``table`` (the metrics that its tables
        show), ``prompting`` (the summary of each strategy) and ``iou_by_image`` (IoU after the last prompt, in
        [0, 1], by strategy and image id).
    """
    iou_by_image = {}
    for name, scores in results.items():
        final = scores.ious()[:, -1]
        iou_by_image[name] = {id: round(float(iou), 4) for id, iou in zip(scores.ids, final, strict=True)}
    metrics = {
        **extra,
        "measured_on": dataset.name,
        "table": list(table_metrics(dataset.name)),
        "prompting": {name: scores.summary() for name, scores in results.items()},
        "iou_by_image": iou_by_image,
    }
    write_atomically(folder / METRICS_FILE, json.dumps(metrics, indent=1).encode())
    return metrics


def read_metrics(file: Path) -> dict[str, Any]:
    """Read a `METRICS_FILE`.

    Raises:
        DataError: If the file is torn, or holds something else.
    """
    try:
        metrics = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read ({error}); delete it, and measure that run again.") from error
    if not isinstance(metrics, dict) or not _is_by_strategy(metrics.get("prompting")):
        raise DataError(f"{file} holds no measurements; delete it, and measure that run again.")
    if lacking := _lacking(metrics):
        raise DataError(f"{file} lacks {', '.join(lacking)}; delete it, and measure that run again.")
    return metrics


def _is_by_strategy(value: Any) -> bool:
    """Tell whether a value holds a summary, or more, by the names of prompting strategies."""
    return isinstance(value, dict) and bool(value) and all(isinstance(summary, dict) for summary in value.values())


def _lacking(metrics: Mapping[str, Any]) -> list[str]:
    """List the entries that every reader counts on and that are not there."""
    lacking = [key for key in _ENTRIES if key not in metrics]
    for name, summary in metrics["prompting"].items():
        lacking += [f"prompting.{name}.{key}" for key in _ENTRIES_OF_STRATEGY if key not in summary]
        if name not in metrics.get("iou_by_image", {name}):
            lacking.append(f"iou_by_image.{name}")
    return lacking
