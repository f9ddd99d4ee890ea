"""PySODMetrics on one image at a time. Its own evaluators keep a list of every image; ours keep sums.

Answers are float64 in [0, 1], truths bool, of one shape: pixels in a row (N,), or (H, W) where place matters.
An answer that is a mask has only two levels. What PySODMetrics computes of it then follows from a few counts, or needs
only the pixels where it is wrong. The functions for masks give the same numbers, bit for bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
import py_sod_metrics
from scipy.ndimage import convolve, distance_transform_edt

if TYPE_CHECKING:
    from alignsam_gym.metrics.mask_scores import Counts

_EPS = np.spacing(1)
_REACH = 3
"""How many pixels to each side the weighted F_β looks for errors."""


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


def f_beta_of_mask(counts: Counts, beta_squared: float) -> OverThresholds:
    """Return what `f_beta` does of a mask."""
    measure = py_sod_metrics.FmeasureHandler(False, False, beta=beta_squared)
    mask, everything = (float(measure(each.tp, each.fp, each.tn, each.fn)) for each in (counts, _all_pass(counts)))
    return OverThresholds(mask if counts.tp + counts.fp else everything, _curve_of_mask(mask, everything))


def e_phi_of_mask(counts: Counts) -> OverThresholds:
    """Return what `e_phi` does of a mask."""
    everything = _all_pass(counts)
    passed = counts if counts.tp + counts.fp else everything
    wanted, pixels = everything.tp, everything.tp + everything.fp
    # As arrays and as numbers, as in PySODMetrics: a power of one can differ from that of the other in the last bit.
    both = _e_phi(np.array([counts.tp, everything.tp]), np.array([counts.fp, everything.fp]), wanted, pixels)
    return OverThresholds(float(_e_phi(passed.tp, passed.fp, wanted, pixels)), _curve_of_mask(*both))


def _all_pass(counts: Counts) -> Counts:
    """Count as if every pixel were answered: at threshold 0, and at the adaptive one of an empty mask, which is 0."""
    return type(counts)(tp=counts.tp + counts.fn, fp=counts.fp + counts.tn)


def _curve_of_mask(mask: float, everything: float) -> np.ndarray:
    """Return a mask's curve: it is the same at every threshold but 0, where all pixels pass."""
    return np.append(np.full(255, mask), everything)


def _e_phi(tp: Any, fp: Any, wanted: int, pixels: int) -> Any:
    """Return E_φ of counts, which are numbers or arrays."""
    evaluator = py_sod_metrics.Emeasure()
    evaluator.gt_fg_numel, evaluator.gt_size = wanted, pixels
    answered, over = tp + fp, pixels - 1 + _EPS
    if wanted == 0:
        return (pixels - answered) / over
    if wanted == pixels:
        return answered / over
    parts = evaluator.generate_parts_numel_combinations(tp, fp, answered, pixels - answered)
    aligned = [
        number * (2 * (a * b) / (a**2 + b**2 + _EPS) + 1) ** 2 / 4 for number, (a, b) in zip(*parts, strict=True)
    ]
    return sum(aligned) / over


def s_measure(answer: np.ndarray, truth: np.ndarray) -> float:
    """Return the S-measure of maps (H, W), in [0, 1]."""
    return float(_result(_Smeasure(), answer, truth)["sm"])


def f_beta_weighted(answer: np.ndarray, truth: np.ndarray) -> float:
    """Return the weighted F_β of maps (H, W), in [0, 1]; with β² = 1, as published."""
    return float(_result(py_sod_metrics.WeightedFmeasure(), answer, truth)["wfm"])


def f_beta_weighted_of_mask(mask: np.ndarray, truth: np.ndarray) -> float:
    """Return what `f_beta_weighted` does of a mask, bool (H, W)."""
    return float(_MaskWeightedFmeasure().cal_wfm(mask, truth)) if truth.any() else 0.0


class _Smeasure(py_sod_metrics.Smeasure):  # type: ignore[misc]  # the package has no types
    """PySODMetrics' without its NaN for a truth whose centre is in the last row or column.

    There a quarter of the image has no area, and weighs nothing.
    """

    def ssim(self, pred: np.ndarray, gt: np.ndarray) -> float:
        return float(super().ssim(pred, gt)) if pred.size else 0.0


class _MaskWeightedFmeasure(py_sod_metrics.WeightedFmeasure):  # type: ignore[misc]
    """PySODMetrics' of masks, computed only where the answer is wrong.

    Elsewhere a pixel's error is 0, and stays so whatever its neighbours' are and however it is weighted.
    """

    def cal_wfm(self, pred: np.ndarray, gt: np.ndarray) -> Any:
        nearest = distance_transform_edt(~gt, return_distances=False, return_indices=True)
        missed, alarms, error = gt & ~pred, pred & ~gt, np.zeros(gt.shape)
        if missed.any():
            box = _around(missed, _REACH)
            lent = missed[tuple(nearest[:, *box])].astype(float)  # the error of the nearest foreground
            kernel = self.matlab_style_gauss2D((2 * _REACH + 1, 2 * _REACH + 1), sigma=5)
            around = convolve(lent, weights=kernel, mode="constant", cval=0)
            error[box] = np.where(missed[box], np.minimum(around, 1), 0)
        rows, columns = np.ogrid[: gt.shape[0], : gt.shape[1]]
        squared = np.subtract(nearest[0], rows, dtype=float) ** 2 + np.subtract(nearest[1], columns, dtype=float) ** 2
        error[alarms] = 2 - np.exp(np.log(0.5) / 5 * np.sqrt(squared[alarms]))
        hits, false = np.sum(gt) - np.sum(error[gt]), np.sum(error[~gt])
        recall, precision = 1 - np.mean(error[gt]), hits / (hits + false + _EPS)
        return (1 + self.beta) * recall * precision / (recall + self.beta * precision + _EPS)


def _around(mask: np.ndarray, margin: int) -> tuple[slice, slice]:
    """Return the rows and columns that a mask extends over, with a margin where the image goes on."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return slice(max(y - margin, 0), y + height + margin), slice(max(x - margin, 0), x + width + margin)


def _result(evaluator: Any, answer: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    evaluator.step(answer, truth, normalize=False)
    result: dict[str, Any] = evaluator.get_results()
    return result
