"""PySODMetrics on one image at a time. Its own evaluators keep a list of every image; ours keep sums.

Answers are float64 in [0, 1], truths bool, of one shape: pixels in a row (N,), or (H, W) where place matters.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import py_sod_metrics


class OverThresholds(NamedTuple):
    """A metric at several thresholds on the answer.

    Attributes:
        adaptive: At twice the answer's mean, at most 1.
        curve: float64 (256,), for levels ≥ 255, 254, … 0 of 255.
    """

    adaptive: float
    curve: np.ndarray


def mae(answer: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean absolute error, in [0, 1]."""
    return float(_result(py_sod_metrics.MAE(), answer, truth)["mae"])


def f_beta(answer: np.ndarray, truth: np.ndarray, beta_squared: float) -> OverThresholds:
    """Return F_β, in [0, 1]."""
    handler = py_sod_metrics.FmeasureHandler(with_dynamic=True, with_adaptive=True, beta=beta_squared)
    result = _result(py_sod_metrics.FmeasureV2({"f": handler}), answer, truth)["f"]
    return OverThresholds(float(result["adaptive"]), result["dynamic"])


def e_phi(answer: np.ndarray, truth: np.ndarray) -> OverThresholds:
    """Return E_φ, in [0, N / (N − 1)] of N pixels."""
    result = _result(py_sod_metrics.Emeasure(), answer[None], truth[None])["em"]
    return OverThresholds(float(result["adp"]), result["curve"])


def s_measure(answer: np.ndarray, truth: np.ndarray) -> float:
    """Return the S-measure of maps (H, W), in [0, 1]."""
    return float(_result(_Smeasure(), answer, truth)["sm"])


def f_beta_weighted(answer: np.ndarray, truth: np.ndarray) -> float:
    """Return the weighted F_β of maps (H, W), in [0, 1]; with β² = 1, as published."""
    return float(_result(py_sod_metrics.WeightedFmeasure(), answer, truth)["wfm"])


class _Smeasure(py_sod_metrics.Smeasure):  # type: ignore[misc]  # the package has no types
    """PySODMetrics' without its NaN for a truth whose centre is in the last row or column.

    There a quarter of the image has no area, and weighs nothing.
    """

    def ssim(self, pred: np.ndarray, gt: np.ndarray) -> float:
        return float(super().ssim(pred, gt)) if pred.size else 0.0


def _result(evaluator: Any, answer: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    evaluator.step(answer, truth, normalize=False)
    result: dict[str, Any] = evaluator.get_results()
    return result
