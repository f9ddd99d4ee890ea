"""What the paper's tables and figures show, and from which runs each cell comes. Pure data."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

FIGURES = {
    "blur": ("iou", "f_beta"),
    "shadow": ("iou", "ber_percent"),
    "glass": ("iou", "f_beta"),
    "saliency": ("e_phi", "mae"),
    "semantic": ("iou",),
}
"""The paper's tasks, and the figures that Tables 2 and 3 give of each; the first stands for the task elsewhere."""

AVERAGES = dict.fromkeys(FIGURES, "over_images") | {"semantic": "over_categories"}
"""What a task's figures are means over. The paper leaves it open but for Pascal VOC. [ours]"""

EACH = "each category"
"""In the place of a category: a row or column for each that there is."""

OURS, SRM_ONLY, ORACLE = "ours", "SRM only", "oracle"

ABLATIONS: Mapping[str, dict[str, Any]] = {
    OURS: {},
    "w/o RL": {"way": "random"},
    "w/o SRM": {"way": "agent, labels: positive"},
    "w/o MSI": {"way": "agent, one step"},
    "grid": {"way": "grid"},
    SRM_ONLY: {"way": "srm"},
    ORACLE: {"way": "oracle"},
}
"""Rows of Tables 2 and 3, all of one trained agent; the last three are not in the paper."""

LABELS = {"RL+SRM (ours)": "agent", "RL+SCLIP": "agent, labels: clip", "RL+LAST": "agent, labels: last"} | {
    "RL only": "agent, labels: positive"
}
"""Rows of Table 8."""

STEPS = (1, 5, 10, 15, 20)
"""Columns of Table 5."""

TRAINING_WAYS = tuple(dict.fromkeys(options.get("way", "agent") for options in ABLATIONS.values()))
"""Measured of every agent trained by the configuration itself; of variants only the agent is."""


@dataclass(frozen=True)
class Evaluation:
    """A trained agent measured once more. name: of its folder in the run's. overrides: of `alignsam_gym.experiments.evaluate`."""

    name: str
    overrides: tuple[str, ...]


OTHER_LABELS = Evaluation("labels", (f"evaluate.strategies={list(LABELS.values())}", "evaluate.filmstrips=0"))
MORE_STEPS = Evaluation(
    "steps", (f"evaluate.max_steps={STEPS[-1]}", "evaluate.strategies=[agent,srm]", "evaluate.filmstrips=0")
)
BESIDE_RANDOM = Evaluation(
    "beside_random",
    (
        "evaluate.strategies=[agent]",
        "evaluate.limit=1",
        "evaluate.filmstrips=3",
        "evaluate.filmstrip_strategies=[agent,random]",
    ),
)


@dataclass(frozen=True)
class Cell:
    """One figure, of every seed's run.

    task: a key of `FIGURES`. figure, average: of `MetricTotals.summary`, or foreground_rate. way: of prompting, or the
    baseline's name. variant: training overrides. baseline: the method, if it is none of ours. evaluation: where the run's
    own does not have it. category: whose pixels alone count, or `EACH`. step: after so many prompts; None for all.
    """

    task: str
    figure: str = "iou"
    average: str = "over_images"
    way: str = "agent"
    variant: tuple[str, ...] = ()
    baseline: str | None = None
    evaluation: Evaluation | None = None
    category: str | None = None
    step: int | None = None


Cells = Mapping[tuple[str, str], Cell]
"""(row, column) -> cell."""


@dataclass(frozen=True)
class Table:
    """number: the paper's, of a table or of Figure 7, or `BEYOND`. cells: in reading order."""

    number: int | str
    title: str
    cells: Cells

    @property
    def name(self) -> str:
        if self.number == BEYOND:
            return "Beyond the paper"
        return f"Table {self.number}" if self.number in TABLES else f"Figure {self.number}"

    @property
    def rows(self) -> list[str]:
        return list(dict.fromkeys(row for row, _ in self.cells))

    @property
    def columns(self) -> list[str]:
        return list(dict.fromkeys(column for _, column in self.cells))

    def of_tasks(self, tasks: Collection[str]) -> Table:
        """What is about these alone."""
        return replace(self, cells={place: cell for place, cell in self.cells.items() if cell.task in tasks})

    def for_categories(self, categories: Sequence[str]) -> Table:
        """With a row or column for each of them."""
        cells: dict[tuple[str, str], Cell] = {}
        for (row, column), cell in self.cells.items():
            for category in categories if cell.category == EACH else [cell.category]:
                place = tuple(str(category) if label == EACH else label for label in (row, column))
                cells[place[0], place[1]] = replace(cell, category=category)
        return replace(self, cells=cells)


def make_table(number: int, baselines: Sequence[str]) -> Table:
    """One of the paper's tables. baselines: methods of `alignsam_gym.experiments.baseline` beside ours. Raises KeyError."""
    title, cells = {
        2: ("Four tasks, baselines and ablations", _table2),
        3: ("Categories, baselines and ablations", _table3),
        4: ("Branches of the SRM", _table4),
        5: ("IoU after T prompts", _table5),
        8: ("Sources of the prompts' labels", _table8),
        9: ("The agent and random prompting, with the foreground rate", _table9),
        10: ("Few labelled images", _table10),
    }[number]
    return Table(number, title, dict(cells(baselines)))


TABLES = (2, 3, 4, 5, 8, 9, 10)
PICTURES = (5, 6, 7)
"""The figures of the paper that can be drawn again."""

Found = Iterator[tuple[tuple[str, str], Cell]]


def main_cell(task: str, **options: Any) -> Cell:
    """The figure that stands for a task."""
    return Cell(task, FIGURES[task][0], AVERAGES[task], **options)


def after(task: str, step: int, row: str = OURS) -> Cell:
    """IoU after so many prompts. row: of `ABLATIONS`, `OURS` or `SRM_ONLY`."""
    return Cell(task, "iou", AVERAGES[task], evaluation=MORE_STEPS, step=step, **ABLATIONS[row])


def methods(baselines: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Rows of Tables 2 and 3, as options of their cells."""
    return {**ABLATIONS, **{name: {"baseline": name, "way": name} for name in baselines}}


def _table2(baselines: Sequence[str]) -> Found:
    for (row, options), (task, figures) in product(methods(baselines).items(), FIGURES.items()):
        for figure in figures:
            if task != "semantic":
                yield (row, f"{task} {figure}"), Cell(task, figure, AVERAGES[task], **options)


def _table3(baselines: Sequence[str]) -> Found:
    for row, options in methods(baselines).items():
        yield from _by_category(row, options)


def _by_category(row: str, options: dict[str, Any]) -> Found:
    yield (row, "mean"), main_cell("semantic", **options)
    yield (row, EACH), Cell("semantic", average="by_category", category=EACH, **options)


def _table4(baselines: Sequence[str]) -> Found:
    for branch, task in product(("implicit", "explicit"), FIGURES):
        yield (branch, f"{task} {FIGURES[task][0]}"), main_cell(task, variant=(f"branch={branch}",))


def _table5(baselines: Sequence[str]) -> Found:
    for step in STEPS:
        options: dict[str, Any] = {"evaluation": MORE_STEPS, "step": step}
        cell = Cell("semantic", average="by_category", category=EACH, **options)
        yield (EACH, str(step)), cell
    for task, row, step in product(reversed(FIGURES), (OURS, SRM_ONLY), STEPS):
        yield (f"{task}, {row}", str(step)), after(task, step, row)


def _table8(baselines: Sequence[str]) -> Found:
    for row, way in LABELS.items():
        yield from _by_category(row, {"way": way, "evaluation": OTHER_LABELS})


def _table9(baselines: Sequence[str]) -> Found:
    for row, task in product(("w/o RL", OURS), FIGURES):
        options = ABLATIONS[row]
        yield (row, f"{task} {FIGURES[task][0]}"), main_cell(task, **options)
        yield (row, f"{task} foreground_rate"), Cell(task, "foreground_rate", **options)


def _table10(baselines: Sequence[str]) -> Found:
    for name, task, shots in product(("persam", OURS), ("blur", "glass", "saliency"), (5, 20)):
        baseline: dict[str, Any] = {"baseline": name, "way": name} if name != OURS else {}
        yield (name, f"{task} {shots}-shot"), Cell(task, variant=(f"env.shots={shots}",), **baseline)


BEYOND = "beyond"
"""Stands for the table of what the paper does not have."""

LEVERS: Sequence[tuple[str, ...]] = (
    (),
    ("env.revisit=allow",),
    ("env.state=product",),
    ("env.state=concat",),
    ("env.reward=foreground",),
    ("env.reward={foreground:0.02,delta_iou:1}",),
    ("env.patch_size=40",),
    ("env.stop=true",),
    ("env.mask_prompt=true",),
    ("env.augment=4",),
    ("srm.folds=1",),
    ("srm.folds=5",),
    ("srm.dropout=0",),
    ("srm.early_stopping_interval=0",),
    ("warm_start=lookahead", "++policy.initial_logit_bias=[0,0]"),  # which other networks than patch have not
    ("experiment=paper",),
    ("experiment=best",),
)
"""Each changed alone."""


def beyond(tasks: Sequence[str]) -> Table:
    """What each of `LEVERS` does to IoU and FR on some tasks."""
    cells = {}
    for variant, task in product(LEVERS, tasks):
        row = " ".join(variant) or "as configured"
        cells[row, f"{task} iou"] = Cell(task, variant=variant)
        cells[row, f"{task} foreground_rate"] = Cell(task, "foreground_rate", variant=variant)
    return Table(BEYOND, "one change at a time", cells)


def sweep(key: str, values: Sequence[int], tasks: Sequence[str]) -> Table:
    """Half of Figure 7: T (``env.max_steps``) or E (``episodes``) along the columns."""
    cells = {}
    for task, value in product(tasks, values):
        cells[f"{task} {FIGURES[task][0]}", str(value)] = main_cell(task, variant=(f"{key}={value}",))
    return Table(7, key, cells)
