import math
import statistics

import numpy as np
import pytest
from scipy import stats

from alignsam_gym.evaluation.intervals import (
    interquartile_means,
    interval,
    sample_deviation,
    shown_mean,
    stratified_interval,
)


def of_images(values) -> dict[str, float]:
    return {str(image): float(value) for image, value in enumerate(values)}


def test_an_interval_of_single_figures_is_students():
    values = [0.1, 0.4, 0.9]
    half = stats.t.ppf(0.975, 2) * np.std(values, ddof=1) / np.sqrt(3)
    low, high = interval([{"": value} for value in values], resamples=200_000)
    assert [low, high] == pytest.approx([np.mean(values) - half, np.mean(values) + half], rel=0.05)


def test_an_interval_over_images_is_as_wide_as_the_standard_error_says():
    values = np.random.default_rng(1).normal(0.5, 0.1, 2000)
    low, high = interval([of_images(values)], resamples=1000)
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / np.sqrt(2000), rel=0.1)
    assert low < values.mean() < high


def test_the_same_run_twice_tells_no_more_of_the_images():
    values = of_images(np.random.default_rng(1).normal(0.5, 0.1, 50))
    assert interval([values] * 5, resamples=500) == pytest.approx(interval([values], resamples=500), abs=0.005)


def test_test_images_of_a_runs_own_are_not_drawn_twice():
    runs = [{f"{run}/{image}": run + image for image in (0.0, 10.0)} for run in range(3)]
    single = [{"": run + 5.0} for run in range(3)]
    assert interval(runs, resamples=500) == interval(single, resamples=500)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_nineteen_of_twenty_intervals_hold_the_truth(seeds):
    """Seeds, images and what is left of both vary alike, and each interval sees one draw of all three."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(400):
        images, left = rng.normal(0, 1, 40), rng.normal(0, 1, (seeds, 40))
        values = rng.normal(0, 0.3, (seeds, 1)) + images + left
        low, high = interval([of_images(run) for run in values], resamples=200)
        held += low < 0 < high
    assert 0.92 <= held / 400 <= 0.99


def test_strata_are_drawn_each_for_itself():
    """So the mean of two has the variance of a mean, which it would not with the same draws for both."""
    first, second = (of_images(values) for values in np.random.default_rng(2).normal(0.5, 0.1, (2, 2000)))
    low, high = stratified_interval([[first], [second]], resamples=1000)
    assert (high - low) / 2 == pytest.approx(1.96 * 0.1 / np.sqrt(2 * 2000), rel=0.1)
    assert low < (np.mean([*first.values()]) + np.mean([*second.values()])) / 2 < high
    assert stratified_interval([[first]], resamples=50) == interval([first], resamples=50)
    low, high = stratified_interval([[first], [first]], resamples=1000)
    assert (high - low) / 2 == pytest.approx(1.96 * 0.1 / np.sqrt(2 * 2000), rel=0.1)


def test_an_interquartile_mean_is_that_of_the_middle_half():
    scores = np.random.default_rng(0).random((5, 4))
    mean, (low, high) = interquartile_means({"a": scores, "b": scores + 1}, resamples=200)["a"]
    assert mean == pytest.approx(np.sort(scores.ravel())[5:15].mean())
    assert low < mean < high
    before = np.random.get_state()[1].copy()
    assert interquartile_means({"a": scores}, resamples=200)["a"] == (mean, (low, high))
    assert np.array_equal(np.random.get_state()[1], before)


def test_the_deviation_of_runs_is_the_samples():
    values = [0.1, 0.4, 0.9, 0.2, 0.3]
    assert sample_deviation(values) == pytest.approx(statistics.stdev(values))
    assert shown_mean(values) == f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}"
    assert shown_mean([1, 2], digits=1) == "1.5 ± 0.7"


def test_a_single_run_shows_no_deviation():
    assert math.isnan(sample_deviation([0.5]))
    assert shown_mean(np.array([0.5])) == "0.500"
