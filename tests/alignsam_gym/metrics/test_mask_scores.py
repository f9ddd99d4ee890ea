"""Every metric against loops over pixels, written from the formulas of the papers that define them."""

import json
import math

import cv2
import numpy as np
import py_sod_metrics
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from alignsam_gym.errors import DataError
from alignsam_gym.metrics import Counts, MaskScores, score_mask

B2 = 0.3
SHAPES = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=7).filter(lambda shape: shape[0] * shape[1] > 1)


def _special(shape):
    """Empty, full, and one pixel in each corner."""
    masks = [np.zeros(shape, bool), np.ones(shape, bool)]
    for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        masks.append(np.zeros(shape, bool))
        masks[-1][corner] = True
    return st.sampled_from(masks)


def _masks(shape):
    return arrays(bool, shape) | _special(shape)


def _levels(shape):
    few = arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 64, 127, 128, 254, 255]))
    return _masks(shape) | arrays(np.uint8, shape) | few


pairs = SHAPES.flatmap(lambda shape: st.tuples(_levels(shape), _masks(shape)))
voids = SHAPES.flatmap(lambda shape: st.tuples(_levels(shape), _masks(shape), arrays(bool, shape)))


# The references. `p` holds the answer's levels in [0, 1], `g` the truth, both as lists of pixels or of rows.


def stretched(answer):
    p = [float(v) if answer.dtype == bool else int(v) / 255 for v in answer.ravel()]
    low, high = min(p), max(p)
    return [(v - low) / (high - low) for v in p] if high > low else p


def confusion(binary, g):
    cases = list(zip(binary, g, strict=True))
    return tuple(sum((a, b) == case for a, b in cases) for case in ((1, 1), (1, 0), (0, 1), (0, 0)))


def f_measure(binary, g):
    """Achanta et al. 2009, Eq. 6; 0 where precision or recall has nothing to count."""
    tp, fp, fn, _ = confusion(binary, g)
    if not tp:
        return 0.0
    precision, recall = tp / (tp + fp), tp / (tp + fn)
    return (1 + B2) * precision * recall / (B2 * precision + recall)


def e_measure(binary, g):
    """Fan et al. 2018, Eq. 2-4, divided by n - 1 as in its authors' program."""
    n = len(g)
    if not any(g):
        return sum(1 - b for b in binary) / (n - 1)
    if all(g):
        return sum(binary) / (n - 1)
    mean_b, mean_g = sum(binary) / n, sum(g) / n
    total = 0.0
    for b, t in zip(binary, g, strict=True):
        x, y = b - mean_b, t - mean_g
        total += (2 * x * y / (x * x + y * y) + 1) ** 2 / 4
    return total / (n - 1)


def s_measure(p, g):
    """Fan et al. 2017, Eq. 1-12."""
    height, width = g.shape
    share = g.mean()
    if share == 0:
        return 1 - p.mean()
    if share == 1:
        return p.mean()

    def object_score(values):
        spread = np.std(values, ddof=1) if len(values) > 1 else 0.0
        return 2 * np.mean(values) / (np.mean(values) ** 2 + 1 + spread)

    s_object = share * object_score(p[g]) + (1 - share) * object_score(1 - p[~g])
    places = [(y, x) for y in range(height) for x in range(width) if g[y, x]]
    below = round(sum(y for y, _ in places) / len(places)) + 1
    right = round(sum(x for _, x in places) / len(places)) + 1
    s_region = 0.0
    for rows in (slice(0, below), slice(below, height)):
        for columns in (slice(0, right), slice(right, width)):
            a, b = p[rows, columns].ravel(), g[rows, columns].ravel().astype(float)
            if len(a):
                s_region += len(a) / g.size * similarity(a, b)
    return max(0.0, 0.5 * s_object + 0.5 * s_region)


def similarity(a, b):
    n = len(a)
    mean_a, mean_b = a.mean(), b.mean()
    over = n - 1 if n > 1 else 1
    var_a, var_b = ((a - mean_a) ** 2).sum() / over, ((b - mean_b) ** 2).sum() / over
    covariance = ((a - mean_a) * (b - mean_b)).sum() / over
    top, bottom = 4 * mean_a * mean_b * covariance, (mean_a**2 + mean_b**2) * (var_a + var_b)
    if top != 0:
        return top / bottom
    return 1.0 if bottom == 0 else 0.0


def weighted_f(p, g):
    """Margolin et al. 2014, Eq. 6-11, as bounds: of several nearest foreground pixels any may lend its error."""
    if not g.any():
        return 0.0, 0.0
    height, width = g.shape
    pixels = list(np.ndindex(g.shape))
    foreground = [place for place in pixels if g[place]]
    kernel = {(i, j): math.exp(-(i * i + j * j) / 50) for i in range(-3, 4) for j in range(-3, 4)}
    total = sum(kernel.values())
    error = np.abs(p - g)
    bounds = []
    for choose in (max, min):
        lent, distance = error.copy(), np.zeros(g.shape)
        for place in pixels:
            if not g[place]:
                squared = {other: (place[0] - other[0]) ** 2 + (place[1] - other[1]) ** 2 for other in foreground}
                nearest = min(squared.values())
                lent[place] = choose(error[other] for other, value in squared.items() if value == nearest)
                distance[place] = math.sqrt(nearest)
        weighted = np.zeros(g.shape)
        for y, x in pixels:
            if g[y, x]:
                around = sum(
                    weight / total * lent[y + i, x + j]
                    for (i, j), weight in kernel.items()
                    if 0 <= y + i < height and 0 <= x + j < width
                )
                weighted[y, x] = min(error[y, x], around)
            else:
                weighted[y, x] = error[y, x] * (2 - math.exp(math.log(0.5) / 5 * distance[y, x]))
        hits, alarms = g.sum() - weighted[g].sum(), weighted[~g].sum()
        recall = 1 - weighted[g].mean()
        precision = hits / (hits + alarms) if hits + alarms > 1e-12 else 0.0
        bounds.append(2 * recall * precision / (recall + precision) if recall + precision > 1e-12 else 0.0)
    return bounds[0], bounds[1]


def near(value):
    return pytest.approx(value, abs=1e-9)


@given(pairs)
def test_counted_metrics_follow_their_formulas(pair):
    answer, truth = pair
    mask = [int(v) for v in (answer if answer.dtype == bool else answer > 127).ravel()]
    g = [int(v) for v in truth.ravel()]
    tp, fp, fn, tn = confusion(mask, g)
    metrics = score_mask(answer, truth).metrics()
    assert metrics["iou"] == near(tp / (tp + fp + fn) if tp + fp + fn else 1.0)
    assert metrics["f_beta"] == near(f_measure(mask, g) if tp + fp + fn else 1.0)
    recalls = [right / size for right, size in ((tp, tp + fn), (tn, tn + fp)) if size]
    assert metrics["ber_percent"] == near(100 * (1 - sum(recalls) / len(recalls)))
    assert metrics["mae"] == near(np.mean([abs(a - b) for a, b in zip(stretched(answer), g, strict=True)]))
    assert metrics["e_phi"] == near(e_measure(mask, g))


@given(pairs)
def test_metrics_over_thresholds_follow_their_formulas(pair):
    answer, truth = pair
    p, g = stretched(answer), [int(v) for v in truth.ravel()]
    scores = score_mask(answer, truth)
    threshold = min(1.0, 2 * float(np.mean(p)))
    passed = [int(v >= threshold) for v in p]
    assert scores.measures["f_beta_adaptive"] == near(f_measure(passed, g))
    assert scores.measures["e_phi_adaptive"] == near(e_measure(passed, g))
    for threshold in range(0, 256, 15):
        passed = [int(int(v * 255) >= threshold) for v in p]
        assert scores.curves["f_beta"][255 - threshold] == near(f_measure(passed, g))
        assert scores.curves["e_phi"][255 - threshold] == near(e_measure(passed, g))


@given(pairs)
@example((np.ones((3, 4), bool), np.pad([[True]], ((2, 0), (3, 0)))))  # PySODMetrics itself gives NaN here
def test_structural_metrics_follow_their_formulas(pair):
    answer, truth = pair
    p = np.reshape(stretched(answer), truth.shape)
    measures = score_mask(answer, truth).measures
    assert measures["s_measure"] == near(s_measure(p, truth))
    low, high = weighted_f(p, truth)
    assert low - 1e-9 <= measures["f_beta_weighted"] <= high + 1e-9


@given(voids)
def test_void_pixels_do_not_count(case):
    answer, truth, void = case
    if (~void).sum() < 2:
        with pytest.raises(DataError, match="nothing to measure"):
            score_mask(answer, truth, void)
        return
    scores = score_mask(answer, truth, void)
    alone = score_mask(answer[~void][None], truth[~void][None])
    assert scores.counts == alone.counts
    for name in ("e_phi", "e_phi_adaptive", "f_beta_adaptive"):
        assert scores.measures[name] == alone.measures[name]
    for name, curve in scores.curves.items():
        assert np.array_equal(curve, alone.curves[name])
    p = np.zeros(truth.shape)
    p[~void] = stretched(answer[~void])
    assert scores.measures["s_measure"] == near(s_measure(p, truth & ~void))
    low, high = weighted_f(p, truth & ~void)
    assert low - 1e-9 <= scores.measures["f_beta_weighted"] <= high + 1e-9


@given(pairs)
def test_metrics_are_numbers_in_their_ranges_and_survive_json(pair):
    scores = score_mask(*pair)
    metrics = scores.metrics()
    most = 1 + 1 / (pair[1].size - 1)
    for name, value in metrics.items():
        top = {"ber_percent": 100, "e_phi": most, "e_phi_adaptive": most}.get(name, 1)
        assert -1e-9 <= value <= top + 1e-9, name
    read = MaskScores.from_json(json.loads(json.dumps(scores.to_json())))
    assert read.counts == scores.counts
    assert read.metrics() == metrics
    for name, curve in scores.curves.items():
        assert np.array_equal(read.curves[name], curve)


@given(st.tuples(*[st.integers(0, 50)] * 4).filter(any))
def test_counted_metrics_are_those_of_pysodmetrics_unless_its_denominators_vanish(counts):
    tp, fp, fn, tn = counts
    by_name = {"tp": tp, "fp": fp, "fn": fn, "tn": tn}
    metrics = Counts(**by_name).metrics()
    if tp + fp + fn:
        assert metrics["iou"] == near(float(py_sod_metrics.IOUHandler(False, False)(**by_name)))
        assert metrics["f_beta"] == near(float(py_sod_metrics.FmeasureHandler(False, False, beta=B2)(**by_name)))
    if tp + fn and tn + fp:
        assert metrics["ber_percent"] == near(100 * float(py_sod_metrics.BERHandler(False, False)(**by_name)))


def test_levels_are_those_of_pysodmetrics_own_defaults():
    """A user who runs PySODMetrics on the same files finds the same numbers."""
    rng = np.random.default_rng(0)
    answer, truth = rng.integers(30, 200, (20, 30), dtype=np.uint8), rng.random((20, 30)) > 0.6
    scores = score_mask(answer, truth)
    evaluators = {
        "mae": (py_sod_metrics.MAE(), "mae"),
        "s_measure": (py_sod_metrics.Smeasure(), "sm"),
        "f_beta_weighted": (py_sod_metrics.WeightedFmeasure(), "wfm"),
    }
    for name, (evaluator, key) in evaluators.items():
        evaluator.step(answer, truth.astype(np.uint8) * 255)
        assert scores.metrics()[name] == near(float(evaluator.get_results()[key]))


def assert_equal_to_levels(mask, truth, void=None):
    """Levels between 0 and 255 are measured by PySODMetrics alone, which stretches them; masks by shortcuts."""
    assert score_mask(mask, truth, void).to_json() == score_mask(np.uint8(200) * mask, truth, void).to_json()


@given(voids)
def test_a_masks_scores_are_those_of_two_levels_bit_for_bit(case):
    answer, truth, void = case
    mask = answer > 127 if answer.dtype == np.uint8 else answer
    for without in (None, void):
        seen = mask if without is None else mask[~without]
        if seen.size > 1 and not seen.all():  # a single level is not stretched
            assert_equal_to_levels(mask, truth, without)


@pytest.mark.parametrize("seed", range(4))
def test_large_masks_scores_are_those_of_two_levels_bit_for_bit(seed):
    rng = np.random.default_rng(seed)
    noise = [cv2.GaussianBlur(rng.standard_normal((90, 70)), (0, 0), 6) for _ in range(2)]
    mask, truth = (each > np.quantile(each, rng.uniform(0.2, 0.9)) for each in noise)
    assert_equal_to_levels(mask, truth)
    assert score_mask(np.uint8(255) * mask, truth).to_json() == score_mask(mask, truth).to_json()


def test_two_empty_masks_agree():
    nothing = np.zeros((4, 4), bool)
    metrics = score_mask(nothing, nothing).metrics()
    assert (metrics["iou"], metrics["f_beta"], metrics["ber_percent"], metrics["mae"]) == (1, 1, 0, 0)


def test_shapes_must_agree():
    with pytest.raises(DataError, match=r"\(2, 3\).*\(3, 2\)"):
        score_mask(np.ones((2, 3), bool), np.ones((3, 2), bool))
