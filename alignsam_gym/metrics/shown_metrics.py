"""Which metrics a table shows, and under which titles. All others are in JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

AVERAGES = {"over_images": "images", "over_pixels": "pixels", "over_categories": "categories"}
"""A key of `MetricTotals.summary` -> what the mean is over, in a table's words."""

TITLES = {
    "iou": "IoU ↑",
    "f_beta": "Fβ ↑",
    "f_beta_adaptive": "Fβ adaptive ↑",
    "f_beta_curve_mean": "Fβ mean over thresholds ↑",
    "f_beta_curve_max": "Fβ max over thresholds ↑",
    "f_beta_weighted": "Fβ weighted ↑",
    "e_phi": "Eφ ↑",
    "e_phi_adaptive": "Eφ adaptive ↑",
    "e_phi_curve_mean": "Eφ mean over thresholds ↑",
    "e_phi_curve_max": "Eφ max over thresholds ↑",
    "s_measure": "S-measure ↑",
    "mae": "MAE ↓",
    "ber_percent": "BER % ↓",
}
"""A metric -> its title in a table, with the direction that is better."""

_PAPER = {
    "cuhk": ("iou", "f_beta"),
    "sbu": ("iou", "ber_percent"),
    "msd": ("iou", "f_beta"),
    "duts": ("e_phi", "mae"),
    "voc2012": ("iou",),
}


def table_metrics(dataset: str) -> Sequence[str]:
    """Name the metrics that the paper's Tables 2, 3 and 9 give of a data set, besides FR; IoU and F_β of any other."""
    return _PAPER.get(dataset.lower(), ("iou", "f_beta"))


def shown_metrics(summary: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> list[tuple[str, str]]:
    """List what a summary has of some metrics.

    Args:
        summary: As of `MetricTotals.summary`.
        names: Of metrics.

    Returns:
        Keys of `AVERAGES`, each with the name of a metric.
    """
    return [(average, name) for name in names for average in AVERAGES if name in summary.get(average, {})]


def heading(average: str, name: str) -> str:
    """Return the title of one of `shown_metrics`."""
    return f"{TITLES[name]} over {AVERAGES[average]}"
