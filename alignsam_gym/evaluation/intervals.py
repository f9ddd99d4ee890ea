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


def interval(runs: Sequence[Mapping[str, float]], resamples: int) -> tuple[float, float]:
    """The 95% interval of a mean over runs; runs: a value of each test image, by id, or a single one.

    Two things could have been otherwise. Test images are the same in all runs: their means over runs are bootstrapped.
    Seeds are few, and a bootstrap of few is too narrow: runs' means have the error that Student's t gives them. Where
    each run has test images of its own, that error is theirs, too, and nothing is bootstrapped.
    """
    return stratified_interval([runs], resamples)


def stratified_interval(strata: Sequence[Sequence[Mapping[str, float]]], resamples: int) -> tuple[float, float]:
    """That of the mean over strata, such as tasks, of the mean over each one's runs, which are drawn for each alone."""
    rng = np.random.default_rng(0)
    low, high = np.percentile(np.mean([_draws(runs, resamples, rng) for runs in strata], axis=0), [2.5, 97.5])
    return float(low), float(high)


def _draws(runs: Sequence[Mapping[str, float]], resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Of the mean over runs, float (resamples,)."""
    means = np.array([np.mean(list(run.values())) for run in runs])
    draws = np.full(resamples, means.mean())
    if len(runs) > 1:
        draws += rng.standard_t(len(runs) - 1, resamples) * means.std(ddof=1) / np.sqrt(len(runs))
    if all(run.keys() == runs[0].keys() for run in runs):
        images = np.mean([[run[name] for name in runs[0]] for run in runs], axis=0)
        draws += rng.choice(images, (resamples, len(images))).mean(1) - images.mean()
    return draws


def shown_interval(runs: Sequence[Mapping[str, float]], resamples: int) -> str:
    low, high = interval(runs, resamples)
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
        raise OptionError("An aggregate over tasks needs rliable: pip install 'alignsam-gym[reproduce]'.") from error
    return library, metrics


def shown_mean(values: Sequence[float] | np.ndarray, digits: int = 3) -> str:
    """Mean ± standard deviation of runs, which is that of these runs alone; of one there is none."""
    spread = f" ± {np.std(values):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{spread}"


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """A table, the first line its header and the second ``---``."""
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
