"""A measured table with the paper's own numbers beside ours: as a document, and as CSV with a line for each cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from alignsam_gym.evaluation.intervals import interquartile_means, shown_mean
from alignsam_gym.experiments.reproduce.measured_cells import CellReader, MeasuredCell
from alignsam_gym.experiments.reproduce.paper_values import printed
from alignsam_gym.experiments.reproduce.plan import PlannedTable
from alignsam_gym.metrics import AVERAGES, TITLES
from alignsam_gym.result_table import Cell, ResultTable

_TITLES = TITLES | {"foreground_rate": "FR"}


@dataclass(frozen=True)
class MeasuredTable:
    """A planned table and what was measured for it.

    Attributes:
        plan: What the table shows.
        cells: By row and column, what was measured.
        intervals: By row and column, the 95% interval if there is one.
        printed: The paper's numbers, by its rows and columns.
        here: The paper's row -> the row of ours that is the same thing.
        datasets: The data set that stands for each task.
        seeds: Those asked for.
    """

    plan: PlannedTable
    cells: Mapping[tuple[str, str], MeasuredCell]
    intervals: Mapping[tuple[str, str], tuple[float, float] | None]
    printed: Mapping[tuple[str, str], float]
    here: Mapping[str, str]
    datasets: Mapping[str, str]
    seeds: tuple[int, ...]

    @property
    def columns(self) -> list[str]:
        """Our columns, then those that the paper alone has."""
        return list(dict.fromkeys([*self.plan.columns, *(column for _, column in self.printed)]))

    @property
    def paper_rows(self) -> list[str]:
        """The paper's rows."""
        return list(dict.fromkeys(row for row, _ in self.printed))

    @property
    def failed_cells(self) -> int:
        """How many cells lack a seed."""
        return sum(bool(cell.failures) for cell in self.cells.values())


def measure_table(plan: PlannedTable, reader: CellReader, resamples: int) -> MeasuredTable:
    """Read all that a table needs.

    Args:
        plan: What the table shows.
        reader: Reads the cells.
        resamples: Of each interval.
    """
    plan = reader.expand(plan)
    cells = {place: reader.read_cell(cell) for place, cell in plan.cells.items()}
    intervals = {place: cell.interval(resamples) if cell.values else None for place, cell in cells.items()}
    tasks = dict.fromkeys(cell.task for cell in plan.cells.values())
    datasets = {task: reader.runs.dataset(task) for task in tasks}
    paper = printed(plan.number)
    seeds = tuple(reader.runs.config.seeds)
    return MeasuredTable(plan, cells, intervals, paper.by_place(), paper.here, datasets, seeds)


def column_title(column: str) -> str:
    """Return the title of a column, or of a row that ends in a metric's name."""
    *task, metric = column.split(" ")
    return " ".join([*task, _TITLES.get(metric, metric)])


def main_table(measured: MeasuredTable) -> ResultTable:
    """Show our rows and then the paper's; the caption says what their metrics are means over."""
    rows = []
    for row in measured.plan.rows:
        rows.append(["here", column_title(row), *(_shown_cell(measured, row, column) for column in measured.columns)])
    ours = len(rows)
    for row in measured.paper_rows:
        rows.append(["paper", row, *(_shown_print(measured, row, column) for column in measured.columns)])
    columns = ["from", "", *map(column_title, measured.columns)]
    return ResultTable(columns, rows, _caption(measured), quoted=range(ours, len(rows)))


def _caption(measured: MeasuredTable) -> str:
    datasets = ", ".join(f"{task} is {dataset}" for task, dataset in measured.datasets.items())
    means = []
    for average, words in AVERAGES.items():
        tasks = dict.fromkeys(cell.task for cell in measured.plan.cells.values() if cell.average == average)
        if tasks:
            means.append(f"{words} ({', '.join(tasks)})")
    return (
        f"Here {datasets}; seeds {', '.join(map(str, measured.seeds))}. The paper's rows are of its own data sets and "
        f"models. Metrics are means over {' and '.join(means)}, in percent but for MAE, ± the sample standard "
        "deviation over seeds, with a 95% interval: Student's t over seeds and, for IoU over images at the end of an "
        "episode, a bootstrap of images, too (none if only seeds could differ, and do not)."
    )


def _digits(column: str) -> int:
    """As many as the paper prints."""
    return 3 if column.endswith(" mae") else 2


def _shown_print(measured: MeasuredTable, row: str, column: str) -> str:
    number = measured.printed.get((row, column))
    return "" if number is None else f"{number:.{_digits(column)}f}"


def _shown_cell(measured: MeasuredTable, row: str, column: str) -> str:
    cell = measured.cells.get((row, column))
    if cell is None:
        return ""
    if not cell.values:
        return "failed"
    digits = _digits(column)
    text = shown_mean(list(cell.values.values()), digits)
    interval = measured.intervals[row, column]
    if interval:
        text += f" ({interval[0]:.{digits}f} to {interval[1]:.{digits}f})"
    if cell.failures:
        text += f", {len(cell.failures)} of {len(cell.failures) + len(cell.values)} seeds failed"
    return text


def failure_lines(measured: MeasuredTable) -> list[str]:
    """Say why cells could not be measured, a line for each cell and seed."""
    lines = set()
    for (row, column), cell in measured.cells.items():
        for seed, reason in cell.failures.items():
            lines.add(f"{row}, {column_title(column)}, seed {seed}: {reason}")
    return sorted(lines)


def cell_list(measured: MeasuredTable) -> ResultTable:
    """List every cell in full, a row for each; low and high are the interval's, ``failed`` counts seeds."""
    columns = ["from", "row", "column", "task", "data set", "metric", "average", "mean", "std", "low", "high", "seeds"]
    rows: list[list[Cell]] = []
    for (row, column), planned in measured.plan.cells.items():
        cell = measured.cells[row, column]
        task = [planned.task, measured.datasets[planned.task], planned.metric, planned.average]
        values: list[Cell] = [cell.mean if cell.values else "", cell.spread if len(cell.values) > 1 else ""]
        interval = measured.intervals[row, column] or ("", "")
        rows.append(["here", row, column, *task, *values, *interval, len(cell.values), len(cell.failures)])
    for (row, column), number in measured.printed.items():
        rows.append(["paper", row, column, "", "", "", "", number, "", "", "", "", ""])
    return ResultTable([*columns, "failed"], rows)


def table_over_tasks(measured: MeasuredTable, resamples: int) -> ResultTable | None:
    """Show Table 2's rows over all tasks at once: the interquartile mean of each task's first metric.

    Rows that lack a seed of a task are left out.

    Args:
        measured: Table 2.
        resamples: Of each interval.

    Returns:
        Nothing if there is one seed, of which nothing can be resampled.
    """
    columns = _first_columns(measured.plan)
    seeds: set[int] = set()
    for cell in measured.cells.values():
        seeds |= cell.values.keys() | cell.failures.keys()
    scores = {}
    for row in measured.plan.rows:
        cells = [measured.cells[row, column] for column in columns]
        if all(cell.values.keys() == seeds for cell in cells):
            scores[row] = np.array([[cell.values[seed] for cell in cells] for seed in sorted(seeds)])
    if not scores or len(seeds) < 2:
        return None
    rows = []
    for row, (mean, (low, high)) in interquartile_means(scores, resamples).items():
        rows.append([row, f"{mean:.2f}", f"{low:.2f} to {high:.2f}"])
    tasks = ", ".join(map(column_title, columns))
    caption = f"Over tasks and seeds together ({tasks}), the interval by stratified bootstrap:"
    return ResultTable(["", "interquartile mean", "95% interval"], rows, caption)


def _first_columns(plan: PlannedTable) -> list[str]:
    """Return the first column of each task."""
    columns: dict[str, str] = {}
    for column in plan.columns:
        columns.setdefault(column.split(" ")[0], column)
    return list(columns.values())
