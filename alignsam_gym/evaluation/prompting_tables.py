"""Tables of what one evaluation measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from alignsam_gym.metrics import heading, shown_metrics
from alignsam_gym.result_table import ResultTable


def prompting_table(summaries: Mapping[str, Mapping[str, Any]], title: str) -> ResultTable:
    """Show mIoU after some numbers of prompts, FR and the fraction of repeated patches.

    Args:
        summaries: `PromptingScores.summary` by prompting strategy, a row for each.
        title: What was measured on.
    """
    last = max(len(summary["miou_by_step"]) for summary in summaries.values()) - 1
    steps = shown_steps(last)
    rows = []
    for name, summary in summaries.items():
        curve = summary["miou_by_step"]
        ious = [f"{curve[step]:.3f}" if step < len(curve) else "" for step in steps]
        rates = [summary["foreground_rate"], summary["repeated"]]
        rows.append([name, *ious, *("" if rate is None else f"{rate:.1%}" for rate in rates)])
    columns = ["prompting", *(f"t={step}" for step in steps), "FR", "repeated"]
    return ResultTable(columns, rows, f"mIoU after t prompts: {title}")


def shown_steps(last: int) -> list[int]:
    """Return the numbers of prompts after which tables show an episode of `last` prompts."""
    return [step for step in (0, 1, 5, 10, 15) if step < last] + [last]


def metrics_table(summaries: Mapping[str, Mapping[str, Any]], names: Sequence[str], title: str) -> ResultTable:
    """Show some metrics, over each set that they are means over.

    Args:
        summaries: `MetricTotals.summary` by prompting strategy or baseline, a column for each.
        names: The metrics, a row for each of their means.
        title: What was measured on.
    """
    first = next(iter(summaries.values()))
    rows = []
    for average, name in shown_metrics(first, names):
        values = [f"{summary[average][name]:.3f}" for summary in summaries.values()]
        rows.append([heading(average, name), *values])
    return ResultTable(["", *summaries], rows, title)
