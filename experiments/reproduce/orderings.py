"""What the paper's tables say is better than what, and whether it is so here."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from alignsam_gym.evaluation.intervals import markdown, stratified_interval
from alignsam_gym.experiments.reproduce.paper_values import printed
from alignsam_gym.experiments.reproduce.plan import (
    FIGURES,
    LABELS,
    ORACLE,
    OTHER_LABELS,
    OURS,
    SRM_ONLY,
    STEPS,
    Cell,
    after,
    main_cell,
    methods,
)
from alignsam_gym.experiments.reproduce.results import Results, is_single, samples

_FLAT = 1.0  # points


@dataclass(frozen=True)
class Claim:
    """That one cell's lead over another, or the mean of several such leads, is above zero.

    printed: whether the paper's figures say so, too. within: that it is nearer to zero than this, instead.
    """

    words: str
    pairs: Sequence[tuple[Cell, Cell]]
    printed: bool = True
    within: float | None = None

    def judge(self, low: float, high: float) -> str:
        """In words, for a mean that is somewhere from low to high."""
        floor, ceiling = (0.0, float("inf")) if self.within is None else (-self.within, self.within)
        if floor < low and high < ceiling:
            return "holds"
        return "does not hold" if high <= floor or ceiling <= low else "open: the interval allows both"


def claims(number: int | str, tasks: Collection[str], baselines: Sequence[str]) -> list[Claim]:
    """Those of one table about tasks; none of 9, 10 and `BEYOND`, which are in the others or not ordered."""
    here = [task for task in FIGURES if task in tasks]
    match number:
        case 2:
            groups = _groups([task for task in here if task != "semantic"])
            return [_ahead(2, *group, *other) for group in groups for other in _others(baselines)]
        case 3 if "semantic" in here:
            return [_ahead(3, "semantic", ["semantic"], *other) for other in _others(baselines)]
        case 4:
            explicit_wins = {"blur": False, "shadow": True, "glass": False, "saliency": False, "semantic": True}
            return [_branches(task, explicit_wins[task]) for task in here]
        case 5:
            rising = [_rising(task, early, late) for task in here for early, late in pairwise(STEPS[:-1])]
            fewer = [_sooner(*group, step) for group in _groups(here) for step in STEPS[:2]]
            return rising + [_flat(task) for task in here] + fewer
        case 8 if "semantic" in here:
            best, *others = LABELS
            cells = {row: main_cell("semantic", way=way, evaluation=OTHER_LABELS) for row, way in LABELS.items()}
            return [_better(f"semantic: {best}", cells[best], row, cells[row]) for row in others]
    return []


def _groups(tasks: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Each task, and all of them at once."""
    together = [("all tasks", list(tasks))] if len(tasks) > 1 else []
    return [(task, [task]) for task in tasks] + together


def _others(baselines: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    """Rows of Tables 2 and 3 that the method is to be ahead of."""
    return [(row, options) for row, options in methods(baselines).items() if row not in (OURS, ORACLE)]


def _ahead(number: int, name: str, tasks: Sequence[str], row: str, options: Mapping[str, Any]) -> Claim:
    """By each task's main figure, of which more is better. [ours] where the paper does not print the row."""
    pairs = [(main_cell(task), main_cell(task, **options)) for task in tasks]
    return Claim(f"{name}: {OURS} better than {row}", pairs, row in printed(number).here.values())


def _sooner(name: str, tasks: Sequence[str], step: int) -> Claim:
    """The agent needs fewer prompts than its SRM's likeliest patches do. [ours]"""
    pairs = [(after(task, step), after(task, step, SRM_ONLY)) for task in tasks]
    return Claim(f"{name}, T = {step}: {OURS} better than {SRM_ONLY}", pairs, printed=False)


def _rising(task: str, early: int, late: int) -> Claim:
    """The paper tells of categories alone; of the other tasks it is [ours]."""
    words = f"{task}: T = {late} better than T = {early}"
    return Claim(words, [(after(task, late), after(task, early))], printed=task == "semantic")


def _flat(task: str) -> Claim:
    """More prompts than in training change little: less than a point. [ours]"""
    trained, most = STEPS[-2:]
    words = f"{task}: T = {most} within {_FLAT:g} point of T = {trained}"
    return Claim(words, [(after(task, most), after(task, trained))], printed=False, within=_FLAT)


def _branches(task: str, explicit_wins: bool) -> Claim:
    names = ("explicit", "implicit") if explicit_wins else ("implicit", "explicit")
    best, other = (main_cell(task, variant=(f"branch={name}",)) for name in names)
    return _better(f"{task}: {names[0]}", best, names[1], other)


def _better(name: str, cell: Cell, other: str, worse: Cell) -> Claim:
    return Claim(f"{name} better than {other}", [(cell, worse)])


def orderings(found: Sequence[Claim], results: Results, resamples: int) -> str:
    """A Markdown table of claims, with the paired difference here and its interval."""
    lines = [["", "in the paper", "here", "difference", "95% interval"], ["---"] * 5]
    for claim in found:
        lines.append([claim.words, "yes" if claim.printed else "", *_judged(claim, results, resamples)])
    return markdown(lines)


def _judged(claim: Claim, results: Results, resamples: int) -> list[str]:
    strata = [samples([(1.0, results.of(cell)), (-1.0, results.of(other))]) for cell, other in claim.pairs]
    if not all(strata):
        return ["not measured", "", ""]
    difference = float(np.mean([np.mean([np.mean(list(run.values())) for run in runs]) for runs in strata]))
    if any(map(is_single, strata)):
        return [claim.judge(difference, difference), f"{difference:+.2f}", "(one seed)"]
    low, high = stratified_interval(strata, resamples)
    return [claim.judge(low, high), f"{difference:+.2f}", f"{low:+.2f} to {high:+.2f}"]
