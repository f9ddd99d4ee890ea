import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from alignsam_gym.metrics import AVERAGES, TITLES, MetricTotals, score_mask, table_metrics

sets = st.lists(
    st.tuples(arrays(bool, (3, 4)), arrays(bool, (3, 4)), st.sampled_from(["cat", "dog"])), min_size=1, max_size=5
)


def _pooled(images):
    answers, truths = (np.concatenate([image[k].ravel() for image in images])[None] for k in (0, 1))
    return score_mask(answers, truths).counts.metrics()


@given(sets)
def test_each_average_is_what_its_name_says(images):
    totals, scores = MetricTotals(), []
    for answer, truth, category in images:
        scores.append(score_mask(answer, truth))
        totals.add(scores[-1], category)
    summary = totals.summary()
    for name in scores[0].metrics():
        assert summary["over_images"][name] == pytest.approx(np.mean([one.metrics()[name] for one in scores]))
    for name in ("f_beta", "e_phi"):
        curve = np.mean([one.curves[name] for one in scores], axis=0)
        assert summary["over_images"][f"{name}_curve_mean"] == pytest.approx(curve.mean())
        assert summary["over_images"][f"{name}_curve_max"] == pytest.approx(curve.max())
    assert summary["over_pixels"] == pytest.approx(_pooled(images))
    present = sorted({category for *_, category in images})
    assert ("by_category" in summary) == (len(present) > 1)
    if len(present) > 1:
        expected = {name: _pooled([image for image in images if image[2] == name]) for name in present}
        assert list(summary["by_category"]) == present
        for name in present:
            assert summary["by_category"][name] == pytest.approx(expected[name])
        for name in ("iou", "f_beta", "ber_percent", "mae"):
            mean = np.mean([metrics[name] for metrics in expected.values()])
            assert summary["over_categories"][name] == pytest.approx(mean)
    assert json.loads(json.dumps(summary)) == summary


def test_memory_does_not_grow_with_the_test_set():
    rng = np.random.default_rng(0)
    totals = MetricTotals()
    scores = [score_mask(rng.random((8, 8)) > 0.5, rng.random((8, 8)) > 0.5) for _ in range(20)]
    tracemalloc.start()
    kept = []
    for _ in range(3):
        for one in scores * 50:
            totals.add(one)
        kept.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert totals.images == 3000
    assert kept[2] - kept[0] < 10_000


def test_nothing_measured_is_nothing():
    assert MetricTotals().summary() == {}


@pytest.mark.parametrize("dataset", ["CUHK", "SBU", "MSD", "DUTS", "VOC2012", "mine"])
def test_tables_name_metrics_that_there_are(dataset):
    totals = MetricTotals()
    totals.add(score_mask(np.eye(3, dtype=bool), np.eye(3, dtype=bool)))
    summary = totals.summary()
    assert table_metrics(dataset)
    assert set(table_metrics(dataset)) <= set(TITLES)
    assert set(TITLES) == set(summary["over_images"])
    assert set(summary) <= set(AVERAGES)
