"""Measured tables as pictures, PNG."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from alignsam_gym.experiments.reproduce.paper_tables import Shown, heading

_ABREAST = 6
_PAPER = {"marker": "D", "facecolors": "none", "edgecolors": "tab:red", "s": 28, "zorder": 3}


def dots(shown: Shown, path: Path) -> None:
    """A panel a column, a line a row: our mean with its interval, and the paper's figure."""
    rows = shown.table.rows
    others = [row for row in shown.paper_rows if shown.here.get(row) not in rows]
    heights = {name: -place for place, name in enumerate([*rows, *(f"{row} (paper only)" for row in others)])}
    columns = [column for column in shown.columns if column in shown.table.columns]
    lines = -(-len(columns) // _ABREAST)
    figure, axes = plt.subplots(
        lines,
        min(len(columns), _ABREAST),
        figsize=(1.2 + 2.3 * min(len(columns), _ABREAST), (1.1 + 0.27 * len(heights)) * lines),
        layout="constrained",
        squeeze=False,
        sharey=True,
    )
    for axis in axes.flat[len(columns) :]:
        axis.set_visible(False)
    for axis, column in zip(axes.flat, columns, strict=False):
        for row in rows:
            _dot(axis, shown, (row, column), heights[row])
        for row in shown.paper_rows:
            if (row, column) in shown.printed:
                height = heights[f"{row} (paper only)" if row in others else shown.here[row]]
                axis.scatter(shown.printed[row, column], height, **_PAPER)
        axis.set_title(heading(column), fontsize=9)
        axis.set_yticks(list(heights.values()), list(heights), fontsize=8)
        axis.tick_params(axis="x", labelsize=8)
        axis.grid(axis="x", alpha=0.3)
    figure.suptitle(
        f"{shown.table.name}: ours with 95% intervals (dots), the paper's on its own data (diamonds)",
        fontsize=9,
    )
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _dot(axis: Axes, shown: Shown, place: tuple[str, str], height: float) -> None:
    measured = shown.measured.get(place)
    if measured is None or not measured.values:
        return
    axis.scatter(measured.mean, height, color="tab:blue", s=24, zorder=2)
    if interval := shown.intervals[place]:
        axis.hlines(height, *interval, color="tab:blue", linewidth=2, alpha=0.6)


def curves(panels: Mapping[str, Shown], title: str, path: Path) -> None:
    """A panel for each table, titled with its key: columns are numbers along the axis, rows curves."""
    figure, axes = plt.subplots(
        1, len(panels), figsize=(5.6 * len(panels), 3.8), layout="constrained", squeeze=False, sharey=True
    )
    for axis, (label, shown) in zip(axes.flat, panels.items(), strict=True):
        for place, row in enumerate(shown.table.rows):
            found = [column for column in shown.table.columns if shown.measured[row, column].values]
            x, colour = [float(column) for column in found], f"C{place}"
            means = [shown.measured[row, column].mean for column in found]
            axis.plot(x, means, "o-", label=heading(row), markersize=4, color=colour)
            for at, column in zip(x, found, strict=True):
                if interval := shown.intervals[row, column]:
                    axis.vlines(at, *interval, color=colour, alpha=0.5, linewidth=2)
        for row in shown.paper_rows:
            figures = {float(column): figure for (name, column), figure in shown.printed.items() if name == row}
            axis.plot(
                list(figures), list(figures.values()), "D--", label=f"paper: {row}", markersize=4, mfc="none", alpha=0.6
            )
        axis.set(xlabel=label, ylabel="percent", xticks=[float(column) for column in shown.table.columns])
        axis.grid(alpha=0.3)
    axes.flat[-1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.suptitle(f"{title}, with 95% intervals", fontsize=9)
    figure.savefig(path, dpi=130)
    plt.close(figure)
