"""Measured tables as plots, PNG."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from alignsam_gym.experiments.reproduce.paper_tables import MeasuredTable, column_title
from alignsam_gym.figure_files import Axes, Figure

_ABREAST = 6
_STYLES = "o-", "s:", "^-.", "v-"
_PAPER = {"marker": "D", "facecolors": "none", "edgecolors": "tab:red", "s": 28, "zorder": 3}


def plot_dots(measured: MeasuredTable, path: Path) -> None:
    """Plot a panel for each column and a line for each row: our mean with its interval, and the paper's number."""
    rows = measured.plan.rows
    others = [row for row in measured.paper_rows if measured.here.get(row) not in rows]
    names = [*rows, *(_paper_only(row) for row in others)]
    heights = {name: -place for place, name in enumerate(names)}
    columns = measured.plan.columns
    abreast = min(len(columns), _ABREAST)
    lines = -(-len(columns) // _ABREAST)
    figure = Figure(figsize=(1.2 + 2.3 * abreast, (1.1 + 0.27 * len(heights)) * lines), layout="constrained")
    axes = figure.subplots(lines, abreast, squeeze=False, sharey=True)
    for axis in axes.flat[len(columns) :]:
        axis.set_visible(False)
    for axis, column in zip(axes.flat, columns, strict=False):
        for row in rows:
            _dot(axis, measured, (row, column), heights[row])
        for row in measured.paper_rows:
            if (row, column) in measured.printed:
                height = heights[_paper_only(row) if row in others else measured.here[row]]
                axis.scatter(measured.printed[row, column], height, **_PAPER)
        axis.set_title(column_title(column), fontsize=9)
        axis.set_yticks(list(heights.values()), list(heights), fontsize=8)
        axis.tick_params(axis="x", labelsize=8)
        axis.grid(axis="x", alpha=0.3)
    title = f"{measured.plan.name}: ours with 95% intervals (dots), the paper's on its own data (diamonds)"
    figure.suptitle(title, fontsize=9)
    figure.savefig(path, dpi=130)


def _paper_only(row: str) -> str:
    return f"{row} (paper only)"


def _dot(axis: Axes, measured: MeasuredTable, place: tuple[str, str], height: float) -> None:
    cell = measured.cells.get(place)
    if cell is None or not cell.values:
        return
    axis.scatter(cell.mean, height, color="tab:blue", s=24, zorder=2)
    if interval := measured.intervals[place]:
        axis.hlines(height, *interval, color="tab:blue", linewidth=2, alpha=0.6)


def plot_curves(panels: Mapping[str, MeasuredTable], title: str, path: Path) -> None:
    """Plot a panel for each table, titled with its key: columns are numbers along the axis, rows are curves."""
    named = max(len(measured.plan.rows) + len(measured.paper_rows) for measured in panels.values())
    height = max(3.8, 0.5 + 0.16 * named)  # room for the legend
    figure = Figure(figsize=(5.6 * len(panels), height), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)
    for axis, (label, measured) in zip(axes.flat, panels.items(), strict=True):
        for place, row in enumerate(measured.plan.rows):
            _curve(axis, measured, row, place)
        for row in measured.paper_rows:
            numbers = {float(column): number for (name, column), number in measured.printed.items() if name == row}
            x, y = list(numbers), list(numbers.values())
            axis.plot(x, y, "D--", label=f"paper: {row}", markersize=4, mfc="none", alpha=0.6)
        axis.set(xlabel=label, ylabel="percent", xticks=[float(column) for column in measured.plan.columns])
        axis.grid(alpha=0.3)
    axes.flat[-1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.suptitle(f"{title}, with 95% intervals", fontsize=9)
    figure.savefig(path, dpi=130)


def _curve(axis: Axes, measured: MeasuredTable, row: str, place: int) -> None:
    """Draw a row's curve. There are ten colours, and after them comes another line and marker."""
    colour, style = f"C{place % 10}", _STYLES[place // 10 % len(_STYLES)]
    columns = [column for column in measured.plan.columns if measured.cells[row, column].values]
    x = [float(column) for column in columns]
    means = [measured.cells[row, column].mean for column in columns]
    axis.plot(x, means, style, label=column_title(row), markersize=4, color=colour)
    for at, column in zip(x, columns, strict=True):
        if interval := measured.intervals[row, column]:
            axis.vlines(at, *interval, color=colour, alpha=0.5, linewidth=2)
