"""Figures over a test set: of single masks (`masks`), of all of them (`totals`), of prompting step by step."""

from alignsam_gym.metrics.masks import Counts, MaskScores, score_mask
from alignsam_gym.metrics.prompting import PromptedImage, PromptingScores, overlap
from alignsam_gym.metrics.tables import AVERAGES, TITLES, heading, shown_metrics, table_metrics
from alignsam_gym.metrics.totals import MetricTotals

__all__ = [
    "AVERAGES",
    "TITLES",
    "Counts",
    "MaskScores",
    "MetricTotals",
    "PromptedImage",
    "PromptingScores",
    "heading",
    "overlap",
    "score_mask",
    "shown_metrics",
    "table_metrics",
]
