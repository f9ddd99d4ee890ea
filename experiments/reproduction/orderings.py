"""What the paper's tables say is better than what, and whether it is so here."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from experiments.reproduction.paper import printed
from experiments.reproduction.plan import (
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
from experiments.reproduction.results import Measured, Results, is_single, samples
from experiments.statistics import markdown, stratified_interval

_FLAT = 1.0  # points


@dataclass(frozen=True)
class Claim:
    """That the mean over tasks of a weighted sum of cells is above zero.

    number: of the paper's table that shows it; None for what the paper does not compare. within: that it is nearer to
    zero than this, instead.
    """

    number: int | None
    words: str
    terms: tuple[tuple[float, Cell], ...]
    within: float | None = None

    def judge(self, low: float, high: float) -> str:
        """In words, for a mean that is somewhere from low to high."""
        floor, ceiling = (0.0, float("inf")) if self.within is None else (-self.within, self.within)
        if floor < low and high < ceiling:
            return "holds"
        return "does not hold" if high <= floor or ceiling <= low else "open: the interval allows both"


def claims(number: int | str, tasks: Collection[str], rivals: Sequence[str]) -> list[Claim]:
    """Those of one table about tasks; none of 9, 10 and `BEYOND`, which are in the others or not ordered."""
    here = [task for task in FIGURES if task in tasks]
    match number:
        case 2:
            return [
                _ahead(2, name, group, row, options)
                for name, group in _groups([task for task in here if task != "semantic"])
                for row, options in _others(rivals)
            ]
        case 3 if "semantic" in here:
            return [_ahead(3, "semantic", ["semantic"], row, options) for row, options in _others(rivals)]
        case 4:
            explicit_wins = {"blur": False, "shadow": True, "glass": False, "saliency": False, "semantic": True}
            return [_branches(task, explicit_wins[task]) for task in here]
        case 5:
            rising = [
                _better(5, task, f"T = {late}", after(task, late), f"T = {early}", after(task, early))
                for task in here
                for early, late in pairwise(STEPS[:-1])
            ]
            fewer = [_sooner(name, group, step) for name, group in _groups(here) for step in STEPS[:2]]
            return rising + [_flat(task) for task in here] + fewer
        case 8 if "semantic" in here:
            best, *others = LABELS
            cells = {row: main_cell("semantic", way=way, evaluation=OTHER_LABELS) for row, way in LABELS.items()}
            return [_better(8, "semantic", best, cells[best], row, cells[row]) for row in others]
    return []


def _groups(tasks: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Each task, and all of them at once."""
    together = [("all tasks", list(tasks))] if len(tasks) > 1 else []
    return [(task, [task]) for task in tasks] + together


def _others(rivals: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    """Rows of Tables 2 and 3 that the method is to be ahead of."""
    return [(row, options) for row, options in methods(rivals).items() if row not in (OURS, ORACLE)]


def _ahead(number: int, name: str, tasks: Sequence[str], row: str, options: Mapping[str, Any]) -> Claim:
    """By each task's main figure, of which more is better. [ours] where the paper does not print the row."""
    terms = tuple(term for task in tasks for term in ((1.0, main_cell(task)), (-1.0, main_cell(task, **options))))
    shown = number if row in printed(number).here.values() else None
    return Claim(shown, f"{name}: ours better than {row}", terms)


def _better(number: int, task: str, name: str, cell: Cell, other: str, worse: Cell) -> Claim:
    return Claim(number, f"{task}: {name} better than {other}", ((1.0, cell), (-1.0, worse)))


def _branches(task: str, explicit_wins: bool) -> Claim:
    names = ("explicit", "implicit") if explicit_wins else ("implicit", "explicit")
    best, other = (main_cell(task, variant=(f"branch={name}",)) for name in names)
    return _better(4, task, names[0], best, names[1], other)


def _sooner(name: str, tasks: Sequence[str], step: int) -> Claim:
    """The agent needs fewer prompts than its SRM's likeliest patches do. [ours]"""
    terms = tuple(term for task in tasks for term in ((1.0, after(task, step)), (-1.0, after(task, step, SRM_ONLY))))
    return Claim(None, f"{name}, T = {step}: {OURS} better than {SRM_ONLY}", terms)


def _flat(task: str) -> Claim:
    """More prompts than in training change little: less than a point. [ours]"""
    trained, most = STEPS[-2:]
    words = f"{task}: T = {most} within {_FLAT:g} point of T = {trained}"
    return Claim(5, words, ((1.0, after(task, most)), (-1.0, after(task, trained))), within=_FLAT)


def orderings(found: Sequence[Claim], results: Results, resamples: int) -> str:
    """A Markdown table of claims, with the paired difference here and its interval."""
    lines = [["the paper's table", "ordering", "here", "difference", "95% interval"], ["---"] * 5]
    for claim in found:
        lines.append([str(claim.number or "none"), claim.words, *_judged(claim, results, resamples)])
    return markdown(lines)


def _judged(claim: Claim, results: Results, resamples: int) -> list[str]:
    by_task: dict[str, list[tuple[float, Measured]]] = {}
    for weight, cell in claim.terms:
        by_task.setdefault(cell.task, []).append((weight, results.of(cell)))
    strata = [samples(terms) for terms in by_task.values()]
    if not all(strata):
        return ["not measured", "", ""]
    difference = float(np.mean([np.mean([one.mean() for one in values]) for values in strata]))
    if all(map(is_single, strata)):
        return [claim.judge(difference, difference), f"{difference:+.2f}", "(one seed)"]
    low, high = stratified_interval(strata, resamples)
    return [claim.judge(low, high), f"{difference:+.2f}", f"{low:+.2f} to {high:+.2f}"]
