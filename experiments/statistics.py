"""What tables over several runs are made with: intervals, aggregates over tasks, Markdown."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alignsam_gym.errors import DataError, OptionError

METRICS = "metrics.json"
"""What a finished run's folder holds."""


def read_metrics(file: Path) -> dict[str, Any]:
    """What a `METRICS` file holds. Raises DataError for one that is torn, or of something else."""
    try:
        metrics = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read ({error}); delete it, and measure that run again.") from error
    if not isinstance(metrics, dict) or not metrics.get("prompting"):
        raise DataError(f"{file} holds no measurements; delete it, and measure that run again.")
    return metrics


def outermost(folders: Iterable[Path]) -> list[Path]:
    """Those below no other, sorted: evaluations that a run keeps in its own folder are no runs beside it."""
    there = {*folders}
    return sorted(folder for folder in there if not there & {*folder.parents})


def interval(values: Sequence[np.ndarray], resamples: int) -> tuple[float, float]:
    """The 95% bootstrap interval of a mean over runs; values: float (images,) of each.

    Runs are drawn with replacement, and images within each; so with one value a run, runs alone.
    """
    return stratified_interval([values], resamples)


def stratified_interval(strata: Sequence[Sequence[np.ndarray]], resamples: int) -> tuple[float, float]:
    """That of the mean over strata, such as tasks, of the mean over each one's runs, which are drawn for each alone."""
    rng = np.random.default_rng(0)
    means = np.mean([[_resampled_mean(values, rng) for _ in range(resamples)] for values in strata], axis=0)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def _resampled_mean(values: Sequence[np.ndarray], rng: np.random.Generator) -> float:
    runs = rng.integers(len(values), size=len(values))
    return float(np.mean([rng.choice(values[run], len(values[run])).mean() for run in runs]))


def shown_interval(values: Sequence[np.ndarray], resamples: int) -> str:
    low, high = interval(values, resamples)
    return f"{low:.3f} to {high:.3f}"


def interquartile_means(
    scores: Mapping[str, np.ndarray], resamples: int
) -> dict[str, tuple[float, tuple[float, float]]]:
    """The mean of the middle half over runs and tasks, and its interval by stratified bootstrap (rliable).

    scores: by name, float (runs, tasks). Raises OptionError if the package is missing.
    """
    library, metrics = rliable()
    logging.getLogger("absl").setLevel(logging.WARNING)  # it names every row
    state = np.random.get_state()
    np.random.seed(0)  # rliable draws from NumPy's global generator, whatever it is given
    try:
        means, intervals = library.get_interval_estimates(
            dict(scores), lambda each: np.array([metrics.aggregate_iqm(each)]), reps=resamples
        )
    finally:
        np.random.set_state(state)
    return {name: (float(means[name][0]), (float(low), float(high))) for name, ((low,), (high,)) in intervals.items()}


def rliable() -> tuple[Any, Any]:
    """Its `library` and `metrics`. Raises OptionError without the package."""
    try:
        from rliable import library, metrics  # takes seconds to import
    except ImportError as error:
        raise OptionError('An aggregate over tasks needs rliable: pip install "alignsam-gym[reproduce]".') from error
    return library, metrics


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """A table, the first line its header and the second ``---``."""
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
