"""A measured table as Markdown and CSV, the paper's own figures beside ours."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from alignsam_gym.evaluation.intervals import interquartile_means, markdown, shown_mean
from alignsam_gym.experiments.reproduce.paper_values import printed
from alignsam_gym.experiments.reproduce.plan import Table
from alignsam_gym.experiments.reproduce.results import Measured, Results
from alignsam_gym.metrics import AVERAGES as MEAN_OVER
from alignsam_gym.metrics import TITLES

_TITLES = TITLES | {"foreground_rate": "FR"}


@dataclass(frozen=True)
class Shown:
    """A table, what was measured for its cells, the 95% intervals, and what the paper printed.

    printed: (the paper's row, column) -> figure. here: the paper's row -> the row of ours that is the same thing.
    """

    table: Table
    measured: Mapping[tuple[str, str], Measured]
    intervals: Mapping[tuple[str, str], tuple[float, float] | None]
    printed: Mapping[tuple[str, str], float]
    here: Mapping[str, str]

    @property
    def columns(self) -> list[str]:
        return list(dict.fromkeys([*self.table.columns, *(column for _, column in self.printed)]))

    @property
    def paper_rows(self) -> list[str]:
        return list(dict.fromkeys(row for row, _ in self.printed))


def show(table: Table, results: Results, resamples: int) -> Shown:
    """Read all that a table needs."""
    table = results.expand(table)
    measured = {place: results.of(cell) for place, cell in table.cells.items()}
    intervals = {place: one.interval(resamples) if one.values else None for place, one in measured.items()}
    paper = printed(table.number)
    figures = {
        (row, column): figure
        for row, figures in paper.rows.items()
        for column, figure in zip(paper.columns, figures, strict=True)
    }
    return Shown(table, measured, intervals, figures, paper.here)


def heading(column: str) -> str:
    """The name of a column, or of a row that ends in a figure's, in print."""
    *task, figure = column.split(" ")
    return " ".join([*task, _TITLES.get(figure, figure)])


def as_markdown(shown: Shown, results: Results) -> str:
    """The table with what it is of, then why cells failed."""
    tasks = dict.fromkeys(cell.task for cell in shown.table.cells.values())
    datasets = ", ".join(f"{task} is {results.runs.dataset(task)}" for task in tasks)
    cells = shown.table.cells.values()
    averaged = {
        words: dict.fromkeys(cell.task for cell in cells if cell.average == average)
        for average, words in MEAN_OVER.items()
    }
    means = " and ".join(f"{words} ({', '.join(found)})" for words, found in averaged.items() if found)
    seeds = ", ".join(map(str, results.runs.config.seeds))
    lines = [["from", "", *map(heading, shown.columns)], ["---"] * (2 + len(shown.columns))]
    for row in shown.table.rows:
        lines.append(["here", heading(row), *(_cell(shown, row, column) for column in shown.columns)])
    for row in shown.paper_rows:
        figures = [shown.printed.get((row, column)) for column in shown.columns]
        printed = zip(figures, map(_digits, shown.columns), strict=True)
        lines.append(["paper", row, *("" if figure is None else f"{figure:.{digits}f}" for figure, digits in printed)])
    parts = [
        f"## {shown.table.name}: {shown.table.title}",
        f"Here {datasets}; seeds {seeds}. The paper's rows are of its own data sets and models. Figures are means over "
        f"{means}, in percent but for MAE, ± the standard deviation over seeds, with a 95% interval: "
        "Student's t over seeds and, for IoU over images at the end of an episode, a bootstrap of images, too (none "
        "if only seeds could differ, and do not).",
        markdown(lines),
    ]
    failures = {
        f"- {place[0]}, {heading(place[1])}, seed {seed}: {reason}"
        for place, measured in shown.measured.items()
        for seed, reason in measured.failures.items()
    }
    if failures:
        parts.append("Failed:\n\n" + "\n".join(sorted(failures)))
    return "\n\n".join(parts) + "\n"


def _digits(column: str) -> int:
    """As many as the paper prints."""
    return 3 if column.endswith(" mae") else 2


def _cell(shown: Shown, row: str, column: str) -> str:
    measured = shown.measured.get((row, column))
    if measured is None:
        return ""
    if not measured.values:
        return "failed"
    digits = _digits(column)
    interval = shown.intervals[row, column]
    between = f" ({interval[0]:.{digits}f} to {interval[1]:.{digits}f})" if interval else ""
    lacking = f", {len(measured.failures)} of {len(measured.failures) + len(measured.values)} seeds failed"
    return shown_mean([*measured.values.values()], digits) + between + (lacking if measured.failures else "")


def as_csv(shown: Shown, results: Results) -> str:
    """A line a figure; low and high are the interval's."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    head = ("from", "row", "column", "task", "data set", "figure", "average", "mean", "std", "low", "high", "seeds")
    lines.writerow([*head, "failed"])
    for (row, column), cell in shown.table.cells.items():
        measured, interval = shown.measured[row, column], shown.intervals[row, column]
        figures = [measured.mean, measured.spread] if measured.values else ["", ""]
        about = (cell.task, results.runs.dataset(cell.task), cell.figure, cell.average)
        counts = (len(measured.values), len(measured.failures))
        lines.writerow(["here", row, column, *about, *figures, *(interval or ("", "")), *counts])
    for (row, column), figure in shown.printed.items():
        lines.writerow(["paper", row, column, "", "", "", "", figure, *[""] * 5])
    return text.getvalue()


def over_tasks(shown: Shown, resamples: int) -> str:
    """A Markdown table of Table 2's rows over all tasks at once: the interquartile mean of each task's first figure.

    Rows that lack a seed of a task are left out; empty if there is one seed, of which nothing can be resampled.
    """
    firsts, seeds = _firsts(shown.table), set[int]()
    for measured in shown.measured.values():
        seeds |= measured.values.keys() | measured.failures.keys()
    scores = {}
    for row in shown.table.rows:
        found = [shown.measured[row, column] for column in firsts]
        if all(measured.values.keys() == seeds for measured in found):
            scores[row] = np.array([[measured.values[seed] for measured in found] for seed in sorted(seeds)])
    if not scores or len(seeds) < 2:
        return ""
    lines = [["", "interquartile mean", "95% interval"], ["---"] * 3]
    for row, (mean, (low, high)) in interquartile_means(scores, resamples).items():
        lines.append([row, f"{mean:.2f}", f"{low:.2f} to {high:.2f}"])
    tasks = ", ".join(map(heading, firsts))
    return f"Over tasks and seeds together ({tasks}), the interval by stratified bootstrap:\n\n{markdown(lines)}"


def _firsts(table: Table) -> list[str]:
    firsts: dict[str, str] = {}
    for column in table.columns:
        firsts.setdefault(column.split(" ")[0], column)
    return list(firsts.values())
