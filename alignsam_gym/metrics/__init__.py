"""Metrics: of single masks (`mask_scores`), of a test set (`metric_totals`), of prompting it (`prompting_scores`)."""

from alignsam_gym.metrics.mask_scores import Counts, MaskScores, score_mask
from alignsam_gym.metrics.metric_totals import MetricTotals
from alignsam_gym.metrics.prompting_scores import PromptedImage, PromptingScores, iou_of, overlap
from alignsam_gym.metrics.shown_metrics import AVERAGES, TITLES, heading, shown_metrics, table_metrics

__all__ = [
    "AVERAGES",
    "TITLES",
    "Counts",
    "MaskScores",
    "MetricTotals",
    "PromptedImage",
    "PromptingScores",
    "heading",
    "iou_of",
    "overlap",
    "score_mask",
    "shown_metrics",
    "table_metrics",
]
