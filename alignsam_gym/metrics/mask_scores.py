"""One answer against its ground truth (§4.1)."""

from __future__ import annotations

from dataclasses import astuple, dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np

from alignsam_gym.errors import DataError

BETA_SQUARED = 0.3
"""β² of F_β, as in the paper's reference for it [1]."""

THRESHOLD = 127
"""A grey level is foreground above this."""


@dataclass(frozen=True)
class Counts:
    """Pixels of one mask, or of many together, and the metrics that follow from them alone.

    IoU, F_β and BER are PySODMetrics' where its denominators are not zero. Where they are, it takes 0; here two
    empty masks agree, and BER looks only at what there is of foreground and background. [ours]

    Attributes:
        tp: Pixels that are foreground in answer and truth.
        fp: Pixels that are foreground in the answer alone.
        fn: Pixels that are foreground in the truth alone.
        tn: Pixels that are background in both.
        error: Sum over all pixels of |answer − truth|, the answer's grey level in [0, 1].
    """

    tp: int = 0
    fp: int = 0
    fn: int = 0
    tn: int = 0
    error: float = 0.0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def iou(self) -> float:
        """Return IoU, in [0, 1]; 1 if answer and truth are empty."""
        return fraction(self.tp, self.tp + self.fp + self.fn)

    def f_beta(self) -> float:
        """Return (1 + β²) P R / (β² P + R) of precision and recall, in [0, 1]; 1 if answer and truth are empty."""
        hits = (1 + BETA_SQUARED) * self.tp
        return fraction(hits, hits + self.fp + BETA_SQUARED * self.fn)

    def ber_percent(self) -> float:
        """Return 100 minus the mean recall of foreground and background, in percent.

        If only one of the two is there, it is the recall of that one.
        """
        sizes = ((self.tp, self.tp + self.fn), (self.tn, self.tn + self.fp))
        return 100 * (1 - float(np.mean([right / size for right, size in sizes if size])))

    def mae(self) -> float:
        """Return the mean absolute error, in [0, 1]."""
        return self.error / (self.tp + self.fp + self.fn + self.tn)

    def metrics(self) -> dict[str, float]:
        """Return the metrics above, by name."""
        return {"iou": self.iou(), "f_beta": self.f_beta(), "ber_percent": self.ber_percent(), "mae": self.mae()}


@dataclass(frozen=True)
class MaskScores:
    """All that is measured of one answer.

    Attributes:
        counts: Its pixels.
        measures: The metrics that do not follow from the counts, by name.
        curves: By name, float64 (256,), a metric for each threshold 255 … 0 on the answer's grey level.
    """

    counts: Counts
    measures: dict[str, float]
    curves: dict[str, np.ndarray]

    def metrics(self) -> dict[str, float]:
        """Return every metric that is a number for a single image, by name."""
        return self.counts.metrics() | self.measures

    def to_json(self) -> dict[str, Any]:
        """Return plain numbers, exact.

        Equal neighbours of a curve are counted, as a mask's curves have only two levels.
        """
        curves = {}
        for name, curve in self.curves.items():
            curves[name] = [(value, len(list(run))) for value, run in groupby(curve.tolist())]
        return {"counts": astuple(self.counts), "measures": self.measures, "curves": curves}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> MaskScores:
        """Return the scores that `to_json` was called on."""
        curves = {}
        for name, runs in record["curves"].items():
            values, lengths = zip(*runs, strict=True)
            curves[name] = np.repeat(values, lengths)
        return cls(Counts(*record["counts"]), record["measures"], curves)


def score_mask(answer: np.ndarray, truth: np.ndarray, void: np.ndarray | None = None) -> MaskScores:
    """Compare an answer with the truth.

    An answer of grey levels is a mask where it is above 127, for IoU, BER, F_β and E_φ. MAE, S-measure, weighted
    F_β, and the adaptive and curve forms of F_β and E_φ see the levels themselves, stretched to [0, 1] as
    PySODMetrics does by default. AlignSAM's answers are masks, SAM's logits cut at zero: the paper describes no grey
    level. [ours] A mask has one F_β; its curve holds that at every threshold but 0, where all pixels pass.

    Measures that are not in `Counts` are PySODMetrics', also where masks are degenerate: with an empty truth F_β's
    adaptive and curve forms and weighted F_β are 0, E_φ is the fraction left unanswered, and S-measure 1 − the mean
    level. The adaptive threshold, twice the mean level, is 0 for an empty answer, so that all of it passes. E_φ
    divides by pixels − 1, so a perfect answer has slightly more than 1.

    Args:
        answer: bool or uint8 (H, W). Levels 0 and 255 alone are those of a mask.
        truth: bool (H, W).
        void: bool (H, W), pixels without a label. What counts pixels leaves them out; S-measure and weighted F_β,
            which need the whole rectangle, see background in answer and truth. [ours]

    Raises:
        DataError: If shapes differ, or fewer than two pixels have a label.
    """
    if answer.shape != truth.shape:
        raise DataError(f"The answer's shape {answer.shape} is not the truth's, {truth.shape}.")
    pixels = truth.size if void is None else truth.size - int(np.count_nonzero(void))
    if pixels < 2:
        raise DataError("Fewer than two pixels have a label; there is nothing to measure.")
    if void is not None:
        truth = truth & ~void
    if answer.dtype != bool and not ((answer > 0) & (answer < 255)).any():
        answer = answer > THRESHOLD
    if answer.dtype == bool:
        return _score_mask(answer if void is None else answer & ~void, truth, pixels)
    return _score_levels(answer, truth, np.ones_like(truth) if void is None else ~void)


def _score_mask(mask: np.ndarray, truth: np.ndarray, pixels: int) -> MaskScores:
    """Score a mask; where a pixel has no label, mask and truth are False."""
    from alignsam_gym.metrics import sod_metrics  # takes seconds to import

    counts = _count(mask, truth, pixels)
    error = (counts.fp + counts.fn) / pixels * pixels  # as of grey levels: the mean times the pixels, to the last bit
    counts = replace(counts, error=error)
    f_beta, e_phi = sod_metrics.f_beta_of_mask(counts, BETA_SQUARED), sod_metrics.e_phi_of_mask(counts)
    measures = {
        "e_phi": float(e_phi.curve[0]),
        "f_beta_adaptive": f_beta.adaptive,
        "e_phi_adaptive": e_phi.adaptive,
        "s_measure": sod_metrics.s_measure(mask.astype(float), truth),
        "f_beta_weighted": sod_metrics.f_beta_weighted_of_mask(mask, truth),
    }
    return MaskScores(counts, measures, {"f_beta": f_beta.curve, "e_phi": e_phi.curve})


def _score_levels(answer: np.ndarray, truth: np.ndarray, valid: np.ndarray) -> MaskScores:
    """Score grey levels; where a pixel is not valid, the truth is False."""
    from alignsam_gym.metrics import sod_metrics

    levels, target = _stretch(answer[valid]), truth[valid]
    level_map: np.ndarray = np.zeros(truth.shape)
    level_map[valid] = levels
    counts = _count((answer > THRESHOLD) & valid, truth, len(target))
    f_beta, e_phi = sod_metrics.f_beta(levels, target, BETA_SQUARED), sod_metrics.e_phi(levels, target)
    measures = {
        "e_phi": float(sod_metrics.e_phi_of_mask(counts).curve[0]),
        "f_beta_adaptive": f_beta.adaptive,
        "e_phi_adaptive": e_phi.adaptive,
        "s_measure": sod_metrics.s_measure(level_map, truth),
        "f_beta_weighted": sod_metrics.f_beta_weighted(level_map, truth),
    }
    counts = replace(counts, error=sod_metrics.mae(levels, target) * len(target))
    return MaskScores(counts, measures, {"f_beta": f_beta.curve, "e_phi": e_phi.curve})


def _count(mask: np.ndarray, truth: np.ndarray, pixels: int) -> Counts:
    """Count the pixels of a mask and its truth, of as many as have a label."""
    tp = int(np.count_nonzero(mask & truth))
    answered = int(np.count_nonzero(mask))
    wanted = int(np.count_nonzero(truth))
    return Counts(tp, answered - tp, wanted - tp, pixels - answered - wanted + tp)


def _stretch(levels: np.ndarray) -> np.ndarray:
    """Turn uint8 into float64, the lowest level at 0 and the highest at 1; a single level stays as it is, of 255."""
    values = levels.astype(float) / 255
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else values


def fraction(part: float, whole: float) -> float:
    """Return part / whole, and 1 where the whole is 0: where nothing was to be found, nothing is missing. [ours]"""
    return part / whole if whole else 1.0
