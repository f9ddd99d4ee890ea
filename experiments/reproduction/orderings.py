"""What the paper's tables say is better than what, and whether it is so here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from experiments.reproduction.plan import ABLATIONS, FIGURES, LABELS, MORE_STEPS, OTHER_LABELS, STEPS, Cell, main_cell
from experiments.reproduction.results import Results, is_single, samples
from experiments.statistics import interval, markdown

_LOWER_IS_BETTER = ("ber_percent", "mae")
_FLAT = 1.0  # points


@dataclass(frozen=True)
class Claim:
    """Something that the paper's table `number` shows: that a weighted sum of cells is above zero.

    within: that it is nearer to zero than this, instead.
    """

    number: int
    words: str
    terms: tuple[tuple[float, Cell], ...]
    within: float | None = None

    @property
    def tasks(self) -> set[str]:
        return {cell.task for _, cell in self.terms}

    def judge(self, low: float, high: float) -> str:
        """In words, for a sum that is somewhere from low to high."""
        floor, ceiling = (0.0, float("inf")) if self.within is None else (-self.within, self.within)
        if floor < low and high < ceiling:
            return "holds"
        return "does not hold" if high <= floor or ceiling <= low else "open: the interval allows both"


def claims(number: int | str) -> list[Claim]:
    """Those of one table; none of 3, 9, 10 and `BEYOND`, whose cells are in the others or are not ordered."""
    match number:
        case 2:
            return [
                _better(2, task, "ours", main_cell(task), row, main_cell(task, **ABLATIONS[row]))
                for task in FIGURES
                if task != "semantic"
                for row in ("w/o RL", "w/o SRM", "w/o MSI")
            ]
        case 4:
            explicit_wins = {"blur": False, "shadow": True, "glass": False, "saliency": False, "semantic": True}
            return [_branches(task, explicit) for task, explicit in explicit_wins.items()]
        case 5:
            rising = [
                _better(5, task, f"T = {late}", _after(task, late), f"T = {early}", _after(task, early))
                for task in FIGURES
                for early, late in pairwise(STEPS[:-1])
            ]
            return rising + [_flat(task) for task in FIGURES]
        case 8:
            best, *others = LABELS
            cells = {row: main_cell("semantic", way=way, evaluation=OTHER_LABELS) for row, way in LABELS.items()}
            return [_better(8, "semantic", best, cells[best], row, cells[row]) for row in others]
    return []


def _better(number: int, task: str, name: str, cell: Cell, other: str, worse: Cell) -> Claim:
    sign = -1.0 if cell.figure in _LOWER_IS_BETTER else 1.0
    return Claim(number, f"{task}: {name} better than {other}", ((sign, cell), (-sign, worse)))


def _branches(task: str, explicit_wins: bool) -> Claim:
    names = ("explicit", "implicit") if explicit_wins else ("implicit", "explicit")
    best, other = (main_cell(task, variant=(f"branch={name}",)) for name in names)
    return _better(4, task, names[0], best, names[1], other)


def _after(task: str, step: int) -> Cell:
    return Cell(task, "iou", main_cell(task).average, evaluation=MORE_STEPS, step=step)


def _flat(task: str) -> Claim:
    """More prompts than in training change little: less than a point. [ours]"""
    trained, most = STEPS[-2:]
    words = f"{task}: T = {most} within {_FLAT:g} point of T = {trained}"
    return Claim(5, words, ((1.0, _after(task, most)), (-1.0, _after(task, trained))), within=_FLAT)


def orderings(found: Sequence[Claim], results: Results, resamples: int) -> str:
    """A Markdown table of claims, with the paired difference here and its interval."""
    lines = [["table", "the paper's ordering", "here", "difference", "95% interval"], ["---"] * 5]
    for claim in found:
        lines.append([str(claim.number), claim.words, *_judged(claim, results, resamples)])
    return markdown(lines)


def _judged(claim: Claim, results: Results, resamples: int) -> list[str]:
    values = samples([(weight, results.of(cell)) for weight, cell in claim.terms])
    if not values:
        return ["not measured", "", ""]
    difference = float(np.mean([one.mean() for one in values]))
    if is_single(values):
        return [claim.judge(difference, difference), f"{difference:+.2f}", "(one seed)"]
    low, high = interval(values, resamples)
    return [claim.judge(low, high), f"{difference:+.2f}", f"{low:+.2f} to {high:+.2f}"]
