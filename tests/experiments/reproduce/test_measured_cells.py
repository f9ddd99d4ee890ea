import math

import pytest

from alignsam_gym.experiments.reproduce.measured_cells import MeasuredCell, paired_sums


def test_sums_are_paired_by_seed_and_image():
    first = MeasuredCell({0: 2.0, 1: 3.0}, {0: {"a": 1.0, "b": 3.0}, 1: {"a": 2.0, "b": 4.0}}, {})
    second = MeasuredCell({1: 1.0}, {1: {"b": 0.5, "a": 1.5}}, {0: "failed"})
    (difference,) = paired_sums([(1.0, first), (-1.0, second)])
    assert difference == {"a": 0.5, "b": 3.5}
    without_images = MeasuredCell({0: 5.0, 1: 1.0}, {}, {})
    assert paired_sums([(1.0, first), (-1.0, without_images)]) == [{"": -3.0}, {"": 2.0}]


def test_the_spread_is_the_samples_and_one_seed_has_none():
    assert MeasuredCell({0: 1.0, 1: 3.0}, {}, {}).spread == pytest.approx(math.sqrt(2))
    assert math.isnan(MeasuredCell({0: 1.0}, {}, {}).spread)
