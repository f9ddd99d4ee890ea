"""How masks change from prompt to prompt, over a test set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from alignsam_gym.metrics.mask_scores import MaskScores, fraction
from alignsam_gym.metrics.metric_totals import MetricTotals


def overlap(answer: np.ndarray, truth: np.ndarray, void: np.ndarray | None = None) -> tuple[int, int]:
    """Count the pixels in the intersection and in the union of two masks, bool (H, W), void left out."""
    if void is not None:
        answer, truth = answer & ~void, truth & ~void
    both = int(np.count_nonzero(answer & truth))
    return both, int(np.count_nonzero(answer)) + int(np.count_nonzero(truth)) - both


def iou_of(answer: np.ndarray, truth: np.ndarray) -> float:
    """Compute the IoU of two masks, bool (H, W), in [0, 1]; 1 where both are empty."""
    return fraction(*overlap(answer, truth))


@dataclass(frozen=True)
class PromptedImage:
    """What one prompting strategy did on one image, after each number of prompts t = 0 … T.

    Attributes:
        id: The image's.
        category: What the target is called, if it has a name.
        overlaps: int (T + 1, 2), intersection and union in pixels of the image itself.
        hits: bool (n,), whether each of n ≤ T prompts hit the target; they are fewer where the agent stopped.
        repeats: bool (n,), whether each prompt was in a patch that had been chosen before.
        scores: Of the answer after T prompts.
    """

    id: str
    category: str | None
    overlaps: np.ndarray
    hits: np.ndarray
    repeats: np.ndarray
    scores: MaskScores

    def to_json(self) -> dict[str, Any]:
        """Return plain values, exact."""
        return {
            "id": self.id,
            "category": self.category,
            "overlaps": self.overlaps.tolist(),
            "hits": self.hits.tolist(),
            "repeats": self.repeats.tolist(),
            "scores": self.scores.to_json(),
        }

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> PromptedImage:
        """Return the image that `to_json` was called on."""
        return cls(
            id=record["id"],
            category=record["category"],
            overlaps=np.array(record["overlaps"]),
            hits=np.array(record["hits"]),
            repeats=np.array(record["repeats"]),
            scores=MaskScores.from_json(record["scores"]),
        )


class PromptingScores:
    """One prompting strategy over a test set. Of each image it keeps the id and the IoU at every step.

    Attributes:
        ids: Of the images, in the order in which they were added.
        totals: The metrics after the last prompt.
    """

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.totals = MetricTotals()
        self._ious: list[np.ndarray] = []
        self._overlaps: dict[str, np.ndarray] = {}
        self._steps = 0
        self._prompted = 0
        self._foreground_rates = 0.0
        self._repeats = 0.0

    def add(self, image: PromptedImage) -> None:
        """Add one more image, of as many steps as the others."""
        self.ids.append(image.id)
        self.totals.add(image.scores, image.category)
        self._ious.append(_ious(image.overlaps))
        category = str(image.category)
        self._overlaps[category] = self._overlaps.get(category, 0) + image.overlaps
        self._steps = len(image.overlaps) - 1
        if self._steps:
            self._foreground_rates += image.hits.sum() / self._steps
        if len(image.hits):
            self._prompted += 1
            self._repeats += float(image.repeats.mean())

    def ious(self) -> np.ndarray:
        """Return the IoU of each image after each step, float (images, T + 1); 1 where both masks are empty."""
        return np.stack(self._ious)

    def summary(self) -> dict[str, Any]:
        """Return plain numbers for JSON.

        Returns:
            - ``images``: how many.
            - ``miou``, ``miou_by_step``: means over images, after T and after 0 … T prompts.
            - ``iou_pooled_over_pixels``: of all images together, after T.
            - ``foreground_rate``: FR, the mean of Eq. 14 over images; in [0, 1], and None where nothing prompts step by
                step. It divides by T, so that prompts that an agent left out by stopping count as misses.
            - ``repeated``: the fraction of the prompts given that were at patches chosen before, the mean over the
                images that were prompted; None where none was.
            - ``metrics``: see `MetricTotals.summary`.
            - ``iou_by_category_by_step``: of the pixels of each category's images, after 0 … T prompts; only where
                there are several categories (Table 5).
        """
        ious = self.ious()
        metrics = self.totals.summary()
        summary = {
            "images": len(self.ids),
            "miou": float(ious[:, -1].mean()),
            "miou_by_step": ious.mean(0).round(5).tolist(),
            "iou_pooled_over_pixels": metrics["over_pixels"]["iou"],
            "foreground_rate": float(self._foreground_rates / len(self.ids)) if self._steps else None,
            "repeated": self._repeats / self._prompted if self._prompted else None,
            "metrics": metrics,
        }
        if len(self._overlaps) > 1:
            by_category = {}
            for name, overlaps in sorted(self._overlaps.items()):
                by_category[name] = _ious(overlaps).round(5).tolist()
            summary["iou_by_category_by_step"] = by_category
        return summary


def _ious(overlaps: np.ndarray) -> np.ndarray:
    """Divide intersections by unions, int (T + 1, 2); float (T + 1,)."""
    return np.array([fraction(both, either) for both, either in overlaps.tolist()])
