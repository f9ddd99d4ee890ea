import numpy as np
import pytest

from experiments.reproduction.results import Measured, samples
from experiments.statistics import interquartile_means, interval, stratified_interval


def test_an_interval_of_runs_alone_is_that_of_all_their_draws():
    """With three values there are 27 draws, so the bootstrap's percentiles are known."""
    values = np.array([0.1, 0.4, 0.9])
    means = [np.mean([a, b, c]) for a in values for b in values for c in values]
    low, high = interval([np.array([value]) for value in values], resamples=4000)
    assert [low, high] == pytest.approx(np.percentile(means, [2.5, 97.5], method="inverted_cdf"))


def test_an_interval_over_images_is_as_wide_as_the_standard_error_says():
    values = np.random.default_rng(1).normal(0.5, 0.1, 2000)
    low, high = interval([values], resamples=1000)
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / np.sqrt(2000), rel=0.1)
    assert low < values.mean() < high


def test_strata_are_drawn_each_for_itself():
    """So the mean of two has the variance of a mean, which it would not with the same draws for both."""
    first, second = np.random.default_rng(2).normal(0.5, 0.1, (2, 2000))
    low, high = stratified_interval([[first], [second]], resamples=1000)
    assert (high - low) / 2 == pytest.approx(1.96 * 0.1 / np.sqrt(2 * 2000), rel=0.1)
    assert low < (first.mean() + second.mean()) / 2 < high
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


def test_sums_are_paired_by_seed_and_image():
    first = Measured({0: 2.0, 1: 3.0}, {0: {"a": 1.0, "b": 3.0}, 1: {"a": 2.0, "b": 4.0}}, {})
    second = Measured({1: 1.0}, {1: {"b": 0.5, "a": 1.5}}, {0: "failed"})
    (difference,) = samples([(1.0, first), (-1.0, second)])
    assert difference.tolist() == [0.5, 3.5]
    without_images = Measured({0: 5.0, 1: 1.0}, {}, {})
    assert [one.tolist() for one in samples([(1.0, first), (-1.0, without_images)])] == [[-3.0], [2.0]]
