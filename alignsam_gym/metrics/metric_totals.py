"""Metrics of a whole test set, image by image, in memory that does not grow with it."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from alignsam_gym.metrics.mask_scores import Counts, MaskScores


class MetricTotals:
    """Sums over images, and pixels pooled by category.

    Attributes:
        images: How many were added.
    """

    def __init__(self) -> None:
        self.images = 0
        self._sums: dict[str, float] = defaultdict(float)
        self._curves: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(256))
        self._counts: dict[str | None, Counts] = defaultdict(Counts)

    def add(self, scores: MaskScores, category: str | None = None) -> None:
        """Add one more image.

        Args:
            scores: Of its answer.
            category: What its target is called, if it has a name.
        """
        self.images += 1
        for name, value in scores.metrics().items():
            self._sums[name] += value
        for name, curve in scores.curves.items():
            self._curves[name] += curve
        self._counts[category] += scores.counts

    def summary(self) -> dict[str, dict[str, Any]]:
        """Return plain numbers for JSON, by what they are means over, which the paper leaves open.

        All are in [0, 1] except ber_percent, in percent, and e_phi (see `score_mask`).

        Returns:
            Nothing without images; else

            - ``over_images``: means over images of iou, f_beta, ber_percent, mae, e_phi, f_beta_adaptive,
                e_phi_adaptive, s_measure and f_beta_weighted; and of the mean curves of F_β and E_φ over thresholds,
                their mean and maximum (f_beta_curve_mean, f_beta_curve_max, e_phi_curve_mean, e_phi_curve_max).
            - ``over_pixels``: iou, f_beta, ber_percent and mae of the pixels of all images together.
            - ``by_category``: the same, of the pixels of each category's images; and ``over_categories``, the means
                of these, as Pascal VOC's mIoU. Both only where there are several categories. (VOC also counts what is
                answered in images without the category; here a category is only asked for where it is present. [ours])
        """
        if not self.images:
            return {}
        pooled = sum(self._counts.values(), Counts())
        summary: dict[str, dict[str, Any]] = {"over_images": self._image_means(), "over_pixels": pooled.metrics()}
        if len(self._counts) > 1:
            by_category = {}
            for category, counts in sorted(self._counts.items(), key=str):
                by_category[str(category)] = counts.metrics()
            means = {}
            for name in summary["over_pixels"]:
                means[name] = float(np.mean([metrics[name] for metrics in by_category.values()]))
            summary["over_categories"] = means
            summary["by_category"] = by_category
        return summary

    def _image_means(self) -> dict[str, float]:
        means = {name: total / self.images for name, total in self._sums.items()}
        for name, total in self._curves.items():
            curve = total / self.images
            means[f"{name}_curve_mean"] = float(curve.mean())
            means[f"{name}_curve_max"] = float(curve.max())
        return means
