"""What the paper's tables and figures show, and from which runs each cell comes. Pure data."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from alignsam_gym.metrics import table_metrics

_DATASETS = {"blur": "CUHK", "shadow": "SBU", "glass": "MSD", "saliency": "DUTS", "semantic": "VOC2012"}
"""The data sets that the paper takes for its tasks."""

TASK_METRICS = {task: table_metrics(dataset) for task, dataset in _DATASETS.items()}
"""The paper's tasks, and the metrics that Tables 2 and 3 give of each; the first stands for the task elsewhere."""

AVERAGES = dict.fromkeys(TASK_METRICS, "over_images") | {"semantic": "over_categories"}
"""What a task's metrics are means over. The paper leaves it open but for Pascal VOC. [ours]"""

EACH = "each category"
"""Stands for a row or column for every category that there is."""

OURS, UNTRAINED, DISAGREEMENT, SRM_ONLY, ORACLE = "ours", "untrained", "disagreement", "SRM only", "oracle"

ABLATIONS: Mapping[str, dict[str, Any]] = {
    OURS: {},
    "w/o RL": {"strategy": "random"},
    "w/o SRM": {"strategy": "agent, labels: positive"},
    "w/o MSI": {"strategy": "agent, one step"},
    UNTRAINED: {"strategy": "agent, untrained"},
    DISAGREEMENT: {"strategy": "disagreement"},
    "grid": {"strategy": "grid"},
    SRM_ONLY: {"strategy": "srm"},
    ORACLE: {"strategy": "oracle"},
}
"""Rows of Tables 2 and 3, all of one trained agent: they differ in the evaluation only. [ours]

The last five are not in the paper. `UNTRAINED` tells what PPO adds, and `DISAGREEMENT`, a rule, what a policy adds.
"""

LABELS = {
    "RL+SRM (ours)": "agent",
    "RL+SCLIP": "agent, labels: clip",
    "RL+LAST": "agent, labels: last",
    "RL only": "agent, labels: positive",
}
"""Rows of Table 8, with their prompting strategies."""

STEPS = (1, 5, 10, 15, 20)  # of Table 5; the agent was trained with 15 and goes on to 20 [ours; evaluate.max_steps]
"""Columns of Table 5."""

CURVES = (OURS, UNTRAINED, DISAGREEMENT, SRM_ONLY)
"""Rows of Table 5 for each task, of `ABLATIONS`. The paper's are categories, of its agent alone."""


def _strategies(rows: Collection[str]) -> list[str]:
    """List the prompting strategies of rows of `ABLATIONS`."""
    return [ABLATIONS[row].get("strategy", "agent") for row in rows]


TRAINING_STRATEGIES = tuple(_strategies(ABLATIONS))
"""Measured of every agent trained by the configuration itself; of variants only the agent is."""


@dataclass(frozen=True)
class Evaluation:
    """A trained agent measured once more.

    Attributes:
        name: Of the evaluation's folder, which is in the run's.
        overrides: Of `alignsam_gym.experiments.evaluate`.
    """

    name: str
    overrides: tuple[str, ...]


OTHER_LABELS = Evaluation("labels", (f"evaluate.strategies={list(LABELS.values())}", "evaluate.filmstrips=0"))
MORE_STEPS = Evaluation(
    "steps",
    (f"evaluate.max_steps={STEPS[-1]}", f"evaluate.strategies={_strategies(CURVES)}", "evaluate.filmstrips=0"),
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
class PlannedCell:
    """One metric, of every seed's run.

    Attributes:
        task: A key of `TASK_METRICS`.
        metric: As of `MetricTotals.summary`, or ``foreground_rate``.
        average: What the metric is a mean over, as of `MetricTotals.summary`.
        strategy: Of prompting, or the baseline's name.
        variant: Overrides of the training.
        baseline: The method, if it is none of ours.
        method: Overrides of the baseline alone.
        evaluation: Where the metric is found, if the run's own evaluation does not have it.
        category: Whose pixels alone count, or `EACH`.
        step: After so many prompts; None for all.
    """

    task: str
    metric: str = "iou"
    average: str = "over_images"
    strategy: str = "agent"
    variant: tuple[str, ...] = ()
    baseline: str | None = None
    method: tuple[str, ...] = ()
    evaluation: Evaluation | None = None
    category: str | None = None
    step: int | None = None


@dataclass(frozen=True)
class PlannedTable:
    """A table of the paper, half of Figure 7, or the table of what the paper does not have.

    Attributes:
        number: The paper's, or `BEYOND`.
        title: What it compares.
        cells: By row and column, in reading order.
    """

    number: int | str
    title: str
    cells: Mapping[tuple[str, str], PlannedCell]

    @property
    def name(self) -> str:
        """What the table is called in headings and messages."""
        if self.number == BEYOND:
            return "Beyond the paper"
        return f"Table {self.number}" if self.number in TABLES else f"Figure {self.number}"

    @property
    def rows(self) -> list[str]:
        """The rows' names, in order."""
        return list(dict.fromkeys(row for row, _ in self.cells))

    @property
    def columns(self) -> list[str]:
        """The columns' names, in order."""
        return list(dict.fromkeys(column for _, column in self.cells))

    def of_tasks(self, tasks: Collection[str]) -> PlannedTable:
        """Return the table with the cells of some tasks alone."""
        return replace(self, cells={place: cell for place, cell in self.cells.items() if cell.task in tasks})

    def for_categories(self, categories: Sequence[str]) -> PlannedTable:
        """Return the table with a row or column for each category in the place of `EACH`."""
        cells: dict[tuple[str, str], PlannedCell] = {}
        for (row, column), cell in self.cells.items():
            if cell.category != EACH:
                cells[row, column] = cell
                continue
            for category in categories:
                place = category if row == EACH else row, category if column == EACH else column
                cells[place] = replace(cell, category=category)
        return replace(self, cells=cells)


def make_table(number: int, baselines: Sequence[str]) -> PlannedTable:
    """Plan one of the paper's tables.

    Args:
        number: One of `TABLES`.
        baselines: Methods of `alignsam_gym.experiments.baseline` beside ours.
    """
    title, cells = {
        2: ("Four tasks, baselines and ablations", _table2),
        3: ("Categories, baselines and ablations", _table3),
        4: ("Branches of the SRM", _table4),
        5: ("IoU after T prompts", _table5),
        8: ("Sources of the prompts' labels", _table8),
        9: ("The agent and random prompting, with the foreground rate", _table9),
        10: ("Few labelled images", _table10),
    }[number]
    return PlannedTable(number, title, dict(cells(baselines)))


TABLES = (2, 3, 4, 5, 8, 9, 10)
FIGURES = (5, 6, 7)
"""The figures of the paper that can be drawn again."""

_PlacedCells = Iterator[tuple[tuple[str, str], PlannedCell]]
"""(row, column) and cell."""


def main_cell(task: str, **options: Any) -> PlannedCell:
    """Plan the metric that stands for a task; options: further fields of the cell."""
    return PlannedCell(task, TASK_METRICS[task][0], AVERAGES[task], **options)


def cell_after(task: str, step: int, row: str = OURS) -> PlannedCell:
    """Plan IoU after some number of prompts.

    Args:
        task: A key of `TASK_METRICS`.
        step: How many prompts, one of `STEPS`.
        row: One of `CURVES`.
    """
    return PlannedCell(task, "iou", AVERAGES[task], evaluation=MORE_STEPS, step=step, **ABLATIONS[row])


def methods(baselines: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the rows of Tables 2 and 3, with the fields of their cells."""
    return {**ABLATIONS, **{name: {"baseline": name, "strategy": name} for name in baselines}}


def _table2(baselines: Sequence[str]) -> _PlacedCells:
    for (row, options), (task, metrics) in product(methods(baselines).items(), TASK_METRICS.items()):
        for metric in metrics:
            if task != "semantic":
                yield (row, f"{task} {metric}"), PlannedCell(task, metric, AVERAGES[task], **options)


def _table3(baselines: Sequence[str]) -> _PlacedCells:
    for row, options in methods(baselines).items():
        yield from _by_category(row, options)


def _by_category(row: str, options: dict[str, Any]) -> _PlacedCells:
    yield (row, "mean"), main_cell("semantic", **options)
    yield (row, EACH), PlannedCell("semantic", average="by_category", category=EACH, **options)


def _table4(baselines: Sequence[str]) -> _PlacedCells:
    for branch, task in product(("implicit", "explicit"), TASK_METRICS):
        yield (branch, f"{task} {TASK_METRICS[task][0]}"), main_cell(task, variant=(f"branch={branch}",))


def _table5(baselines: Sequence[str]) -> _PlacedCells:
    for step in STEPS:
        cell = PlannedCell("semantic", average="by_category", category=EACH, evaluation=MORE_STEPS, step=step)
        yield (EACH, str(step)), cell
    for task, row, step in product(reversed(TASK_METRICS), CURVES, STEPS):
        yield (f"{task}, {row}", str(step)), cell_after(task, step, row)


def _table8(baselines: Sequence[str]) -> _PlacedCells:
    for row, strategy in LABELS.items():
        yield from _by_category(row, {"strategy": strategy, "evaluation": OTHER_LABELS})


def _table9(baselines: Sequence[str]) -> _PlacedCells:
    for row, task in product(("w/o RL", OURS, UNTRAINED, DISAGREEMENT), TASK_METRICS):
        options = ABLATIONS[row]
        yield (row, f"{task} {TASK_METRICS[task][0]}"), main_cell(task, **options)
        yield (row, f"{task} foreground_rate"), PlannedCell(task, "foreground_rate", **options)


def _table10(baselines: Sequence[str]) -> _PlacedCells:
    """PerSAM averages all labelled images here. By one reference, as published, it could not gain from more. [ours]"""
    for row, task, shots in product(("persam", OURS), ("blur", "glass", "saliency"), (5, 20)):
        options: dict[str, Any] = {}
        if row == "persam":
            options = {"baseline": row, "strategy": row, "method": (f"method.references={shots}",)}
        yield (row, f"{task} {shots}-shot"), PlannedCell(task, variant=(f"env.shots={shots}",), **options)


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
    ("srm.folds=1",),
    ("srm.folds=5",),
    ("srm.dropout=0",),
    ("srm.early_stopping_interval=0",),
    ("experiment=paper",),
    ("experiment=best",),
)
"""Each changed alone."""


def beyond(tasks: Sequence[str]) -> PlannedTable:
    """Plan what each of `LEVERS` does to IoU and FR on some tasks."""
    cells = {}
    for variant, task in product(LEVERS, tasks):
        row = " ".join(variant) or "as configured"
        cells[row, f"{task} iou"] = PlannedCell(task, variant=variant)
        cells[row, f"{task} foreground_rate"] = PlannedCell(task, "foreground_rate", variant=variant)
    return PlannedTable(BEYOND, "one change at a time", cells)


def sweep(key: str, values: Sequence[int], tasks: Sequence[str]) -> PlannedTable:
    """Plan half of Figure 7.

    Args:
        key: T (``env.max_steps``) or E (``episodes``).
        values: The columns.
        tasks: The rows.
    """
    cells = {}
    for task, value in product(tasks, values):
        cells[f"{task} {TASK_METRICS[task][0]}", str(value)] = main_cell(task, variant=(f"{key}={value}",))
    return PlannedTable(7, key, cells)
