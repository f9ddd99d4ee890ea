"""How masks change from prompt to prompt, over a test set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from alignsam_gym.metrics.mask_scores import MaskScores, share
from alignsam_gym.metrics.metric_totals import MetricTotals


def overlap(answer: np.ndarray, truth: np.ndarray, void: np.ndarray | None = None) -> tuple[int, int]:
    """Pixels in the intersection and in the union of two masks, bool (H, W), void left out."""
    both, either = answer & truth, answer | truth
    if void is not None:
        both, either = both & ~void, either & ~void
    return int(both.sum()), int(either.sum())


@dataclass(frozen=True)
class PromptedImage:
    """What one way of prompting did on one image, after each number of prompts t = 0 … T.

    category: what the target is called, if it has a name. overlaps: int (T + 1, 2), intersection and union in pixels
    of the image itself. hits, repeats: bool (n,), whether each of n ≤ T prompts hit the target, or an earlier patch;
    they are fewer where the agent stopped. scores: of the answer after T prompts.
    """

    id: str
    category: str | None
    overlaps: np.ndarray
    hits: np.ndarray
    repeats: np.ndarray
    scores: MaskScores

    def to_json(self) -> dict[str, Any]:
        """Plain values, exact."""
        arrays = {name: getattr(self, name).tolist() for name in ("overlaps", "hits", "repeats")}
        return {"id": self.id, "category": self.category, **arrays, "scores": self.scores.to_json()}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> PromptedImage:
        """What `to_json` was called on."""
        arrays = {name: np.array(record[name]) for name in ("overlaps", "hits", "repeats")}
        return cls(record["id"], record["category"], **arrays, scores=MaskScores.from_json(record["scores"]))


class PromptingScores:
    """One way of prompting over a test set. Of each image it keeps the id and the IoU at every step."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.totals = MetricTotals()
        self._ious: list[np.ndarray] = []
        self._overlaps: dict[str, np.ndarray] = {}
        self._prompted, self._hits, self._repeats = 0, 0.0, 0.0

    def add(self, image: PromptedImage) -> None:
        """One more image, of as many steps as the others."""
        self.ids.append(image.id)
        self.totals.add(image.scores, image.category)
        self._ious.append(_ious(image.overlaps))
        category = str(image.category)
        self._overlaps[category] = self._overlaps.get(category, 0) + image.overlaps
        if len(image.hits):
            self._prompted += 1
            self._hits += float(image.hits.mean())
            self._repeats += float(image.repeats.mean())

    def ious(self) -> np.ndarray:
        """float (images, T + 1); 1 where both masks are empty."""
        return np.stack(self._ious)

    def summary(self) -> dict[str, Any]:
        """Plain numbers for JSON.

        miou, miou_by_step: means over images, after T and after 0 … T prompts. iou_pooled_over_pixels: of all images
        together, after T. foreground_rate: FR, the mean of Eq. 14 over the images that were prompted, and repeated: the
        share of prompts at patches chosen before; both in [0, 1], and None where no image was prompted step by step.
        metrics: see `MetricTotals.summary`. iou_by_category_by_step: of the pixels of each category's images, after
        0 … T prompts; only where there are several categories (Table 5).
        """
        ious = self.ious()
        metrics = self.totals.summary()
        categories = {name: _ious(overlaps).round(5).tolist() for name, overlaps in sorted(self._overlaps.items())}
        return {
            "images": len(self.ids),
            "miou": float(ious[:, -1].mean()),
            "miou_by_step": ious.mean(0).round(5).tolist(),
            "iou_pooled_over_pixels": metrics["over_pixels"]["iou"],
            "foreground_rate": self._hits / self._prompted if self._prompted else None,
            "repeated": self._repeats / self._prompted if self._prompted else None,
            "metrics": metrics,
            **({"iou_by_category_by_step": categories} if len(categories) > 1 else {}),
        }


def _ious(overlaps: np.ndarray) -> np.ndarray:
    """float (T + 1,), of intersections and unions, int (T + 1, 2)."""
    return np.array([share(both, either) for both, either in overlaps.tolist()])
