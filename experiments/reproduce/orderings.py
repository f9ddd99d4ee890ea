"""What the paper's tables say is better than what, and whether it is so here."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from alignsam_gym.evaluation.intervals import stratified_interval
from alignsam_gym.experiments.reproduce.measured_cells import CellReader, is_single, paired_sums
from alignsam_gym.experiments.reproduce.paper_values import printed
from alignsam_gym.experiments.reproduce.plan import (
    LABELS,
    ORACLE,
    OTHER_LABELS,
    OURS,
    SRM_ONLY,
    STEPS,
    TASK_METRICS,
    PlannedCell,
    cell_after,
    main_cell,
    methods,
)
from alignsam_gym.result_table import ResultTable

_FLAT = 1.0  # points


@dataclass(frozen=True)
class Claim:
    """That one cell's lead over another, or the mean of several such leads, is above zero.

    Attributes:
        words: The claim, as a table tells it.
        pairs: Each cell that is ahead, with the one that is behind.
        printed: Whether the paper's own numbers say so, too.
        within: That the lead is nearer to zero than this, instead.
    """

    words: str
    pairs: Sequence[tuple[PlannedCell, PlannedCell]]
    printed: bool = True
    within: float | None = None

    def judge(self, low: float, high: float) -> str:
        """Say whether the claim holds for a mean lead that is somewhere from low to high."""
        floor, ceiling = (0.0, float("inf")) if self.within is None else (-self.within, self.within)
        if floor < low and high < ceiling:
            return "holds"
        if high <= floor or ceiling <= low:
            return "does not hold"
        return "open: the interval allows both"


def claims(number: int | str, tasks: Collection[str], baselines: Sequence[str]) -> list[Claim]:
    """List the claims of one table about tasks.

    Tables 9, 10 and `BEYOND` have none: what they show is in the others, or not ordered.

    Args:
        number: The table's.
        tasks: Those that are measured.
        baselines: Those that are measured.
    """
    here = [task for task in TASK_METRICS if task in tasks]
    if number == 2:
        return _table2_claims(here, baselines)
    if number == 3 and "semantic" in here:
        return [_ahead(3, "semantic", ["semantic"], *other) for other in _others(baselines)]
    if number == 4:
        return [_branch_claim(task) for task in here]
    if number == 5:
        return _table5_claims(here)
    if number == 8 and "semantic" in here:
        return _table8_claims()
    return []


def _table2_claims(tasks: Sequence[str], baselines: Sequence[str]) -> list[Claim]:
    groups = _groups([task for task in tasks if task != "semantic"])
    return [_ahead(2, *group, *other) for group in groups for other in _others(baselines)]


def _table5_claims(tasks: Sequence[str]) -> list[Claim]:
    rising = [_rising(task, early, late) for task in tasks for early, late in pairwise(STEPS[:-1])]
    flat = [_flat(task) for task in tasks]
    sooner = [_sooner(*group, step) for group in _groups(tasks) for step in STEPS[:2]]
    return rising + flat + sooner


def _table8_claims() -> list[Claim]:
    best, *others = LABELS
    cells = {}
    for row, strategy in LABELS.items():
        cells[row] = main_cell("semantic", strategy=strategy, evaluation=OTHER_LABELS)
    return [Claim(f"semantic: {best} better than {row}", [(cells[best], cells[row])]) for row in others]


def _groups(tasks: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Return each task, and all of them at once, with a name."""
    together = [("all tasks", list(tasks))] if len(tasks) > 1 else []
    return [(task, [task]) for task in tasks] + together


def _others(baselines: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    """Return the rows of Tables 2 and 3 that the method is to be ahead of."""
    return [(row, options) for row, options in methods(baselines).items() if row not in (OURS, ORACLE)]


def _ahead(number: int, name: str, tasks: Sequence[str], row: str, options: Mapping[str, Any]) -> Claim:
    """Compare each task's main metric, of which more is better. [ours] where the paper does not print the row."""
    pairs = [(main_cell(task), main_cell(task, **options)) for task in tasks]
    return Claim(f"{name}: {OURS} better than {row}", pairs, row in printed(number).here.values())


def _sooner(name: str, tasks: Sequence[str], step: int) -> Claim:
    """The agent needs fewer prompts than its SRM's likeliest patches do. [ours]"""
    pairs = [(cell_after(task, step), cell_after(task, step, SRM_ONLY)) for task in tasks]
    return Claim(f"{name}, T = {step}: {OURS} better than {SRM_ONLY}", pairs, printed=False)


def _rising(task: str, early: int, late: int) -> Claim:
    """The paper tells of categories alone; of the other tasks it is [ours]."""
    words = f"{task}: T = {late} better than T = {early}"
    return Claim(words, [(cell_after(task, late), cell_after(task, early))], printed=task == "semantic")


def _flat(task: str) -> Claim:
    """More prompts than in training change little: less than a point. [ours]"""
    trained, most = STEPS[-2:]
    words = f"{task}: T = {most} within {_FLAT:g} point of T = {trained}"
    return Claim(words, [(cell_after(task, most), cell_after(task, trained))], printed=False, within=_FLAT)


def _branch_claim(task: str) -> Claim:
    """Table 4 has the explicit branch ahead on shadows and categories, and the implicit one on the other tasks."""
    best, other = ("explicit", "implicit") if task in ("shadow", "semantic") else ("implicit", "explicit")
    pair = main_cell(task, variant=(f"branch={best}",)), main_cell(task, variant=(f"branch={other}",))
    return Claim(f"{task}: {best} better than {other}", [pair])


def orderings_table(found: Sequence[Claim], reader: CellReader, resamples: int) -> ResultTable:
    """Show claims with the paired difference here and its interval.

    Args:
        found: As of `claims`.
        reader: Reads the cells.
        resamples: Of each interval.
    """
    rows = [[claim.words, "yes" if claim.printed else "", *_judged(claim, reader, resamples)] for claim in found]
    columns = ["", "in the paper", "here", "difference", "95% interval"]
    return ResultTable(columns, rows, "What is ahead of what, by paired differences:")


def _judged(claim: Claim, reader: CellReader, resamples: int) -> list[str]:
    strata = []
    for ahead, behind in claim.pairs:
        strata.append(paired_sums([(1.0, reader.read_cell(ahead)), (-1.0, reader.read_cell(behind))]))
    if not all(strata):
        return ["not measured", "", ""]
    means = [np.mean([np.mean(list(run.values())) for run in runs]) for runs in strata]
    difference = float(np.mean(means))
    if any(is_single(runs) for runs in strata):
        return [claim.judge(difference, difference), f"{difference:+.2f}", "(one seed)"]
    low, high = stratified_interval(strata, resamples)
    return [claim.judge(low, high), f"{difference:+.2f}", f"{low:+.2f} to {high:+.2f}"]
