"""Means over runs and tasks with their 95% intervals."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from alignsam_gym.errors import OptionError


def interval(runs: Sequence[Mapping[str, float]], resamples: int) -> tuple[float, float]:
    """Return the 95% interval of a mean over runs.

    The interval has two parts. The runs' means differ by seed: Student's t gives their error, as a bootstrap of few
    runs is too narrow. If all runs have the same test images, the images' means over runs are bootstrapped, too. If
    each run has its own images, the spread between runs holds that error already.

    Args:
        runs: For each run, a value of each test image by its id, or a single value.
        resamples: How many means are drawn.

    Returns:
        The lower and the upper end.
    """
    return stratified_interval([runs], resamples)


def stratified_interval(strata: Sequence[Sequence[Mapping[str, float]]], resamples: int) -> tuple[float, float]:
    """Return the 95% interval of a mean over strata, such as tasks, of each stratum's mean over runs.

    Args:
        strata: The runs of each stratum, as `interval` takes them. Each stratum is drawn for itself.
        resamples: How many means are drawn.

    Returns:
        The lower and the upper end.
    """
    rng = np.random.default_rng(0)
    draws = [_draws(runs, resamples, rng) for runs in strata]
    low, high = np.percentile(np.mean(draws, axis=0), [2.5, 97.5])
    return float(low), float(high)


def _draws(runs: Sequence[Mapping[str, float]], resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Draw the mean over runs, float (resamples,)."""
    means = np.array([np.mean(list(run.values())) for run in runs])
    draws = np.full(resamples, means.mean())
    if len(runs) > 1:
        draws += rng.standard_t(len(runs) - 1, resamples) * sample_deviation(means) / np.sqrt(len(runs))
    if all(run.keys() == runs[0].keys() for run in runs):
        images = np.mean([[run[name] for name in runs[0]] for run in runs], axis=0)
        draws += rng.choice(images, (resamples, len(images))).mean(1) - images.mean()
    return draws


def shown_interval(runs: Sequence[Mapping[str, float]], resamples: int) -> str:
    """Write `interval` as a table shows it."""
    low, high = interval(runs, resamples)
    return f"{low:.3f} to {high:.3f}"


def sample_deviation(values: Sequence[float] | np.ndarray) -> float:
    """Return the sample standard deviation of n runs, whose squares are divided by n − 1.

    The runs are a sample of all that could have been, and n in its place would make the spread of five look a tenth
    too small. A single run has none: NaN.
    """
    return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def shown_mean(values: Sequence[float] | np.ndarray, digits: int = 3) -> str:
    """Write mean ± sample standard deviation of runs, as a table shows it; of a single run the mean alone."""
    mean = f"{np.mean(values):.{digits}f}"
    return f"{mean} ± {sample_deviation(values):.{digits}f}" if len(values) > 1 else mean


def interquartile_means(
    scores: Mapping[str, np.ndarray], resamples: int
) -> dict[str, tuple[float, tuple[float, float]]]:
    """Average the middle half of all runs and tasks, with an interval by stratified bootstrap (rliable).

    Args:
        scores: By name, float (runs, tasks).
        resamples: How many means are drawn.

    Returns:
        By name, the mean and its 95% interval.

    Raises:
        OptionError: If the package rliable is missing.
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
    found = {}
    for name, ((low,), (high,)) in intervals.items():
        found[name] = float(means[name][0]), (float(low), float(high))
    return found


def rliable() -> tuple[Any, Any]:
    """Import the package rliable, which takes seconds.

    Returns:
        Its modules ``library`` and ``metrics``.

    Raises:
        OptionError: If the package is missing.
    """
    try:
        from rliable import library, metrics
    except ImportError as error:
        raise OptionError("An aggregate over tasks needs rliable: pip install 'alignsam-gym[reproduce]'.") from error
    return library, metrics
