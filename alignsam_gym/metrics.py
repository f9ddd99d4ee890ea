"""Figures over a test set."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


def overlap(answer: np.ndarray, truth: np.ndarray, void: np.ndarray | None = None) -> tuple[int, int]:
    """Pixels in the intersection and in the union of two masks, bool (H, W), void left out."""
    both, either = answer & truth, answer | truth
    if void is not None:
        both, either = both & ~void, either & ~void
    return int(both.sum()), int(either.sum())


@dataclass
class PromptingScores:
    """One way of prompting, over a test set, after each number of prompts t = 0 … T.

    overlaps: for each image, int (T + 1, 2), intersection and union in pixels of the image itself.
    hits, repeats: for each image, bool (T,), whether each prompt hit the target, or an earlier patch.
    """

    ids: list[str] = field(default_factory=list)
    overlaps: list[np.ndarray] = field(default_factory=list)
    hits: list[np.ndarray] = field(default_factory=list)
    repeats: list[np.ndarray] = field(default_factory=list)

    def ious(self) -> np.ndarray:
        """float (images, T + 1); 1 where both masks are empty."""
        both, either = np.stack(self.overlaps).transpose(2, 0, 1)
        return np.where(either > 0, both / np.maximum(either, 1), 1.0)

    def summary(self) -> dict[str, object]:
        """Plain numbers for JSON: means over images, and the IoU of all pixels pooled."""
        ious = self.ious()
        both, either = np.stack(self.overlaps).sum(0).T
        return {
            "images": len(self.ids),
            "miou": float(ious[:, -1].mean()),
            "miou_by_step": ious.mean(0).round(5).tolist(),
            "iou_pooled_over_pixels": float(both[-1] / max(either[-1], 1)),
            "foreground_rate": float(np.mean(self.hits)),
            "repeated": float(np.mean(self.repeats)),
        }
