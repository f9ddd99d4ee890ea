"""What the plan names exists."""

import pytest
import yaml
from hydra import compose

from agents.policies import PromptPolicy
from alignsam_gym.metrics import TITLES
from experiments.evaluation import ways_of_prompting
from experiments.reproduction.orderings import claims
from experiments.reproduction.plan import (
    AVERAGES,
    BESIDE_RANDOM,
    FIGURES,
    MORE_STEPS,
    OTHER_LABELS,
    TABLES,
    TRAINING_WAYS,
    beyond,
    make_table,
    sweep,
)
from experiments.reproduction.runs import Runs
from experiments.reproduction.tables import _paper

CELLS = [cell for number in TABLES for cell in make_table(number, ["persam"]).cells.values()]
CELLS += beyond(["saliency"]).cells.values()


@pytest.fixture(scope="module")
def known_ways():
    policy = object.__new__(PromptPolicy)
    return lambda names: ways_of_prompting(policy, True, 0, clip=True, names=names)


def test_every_way_is_known(known_ways):
    assert known_ways(TRAINING_WAYS)
    for evaluation in (OTHER_LABELS, MORE_STEPS, BESIDE_RANDOM):
        for override in evaluation.overrides:
            key, value = override.split("=", 1)
            if key.endswith("ways"):
                assert known_ways(yaml.safe_load(value))


def test_every_cell_is_measured_where_the_plan_looks():
    """A way that a cell reads is among those that its run, or its evaluation, measures."""
    for cell in CELLS:
        if cell.rival:
            continue
        if cell.evaluation:
            (ways,) = (value for value in cell.evaluation.overrides if value.startswith("evaluate.ways="))
            assert cell.way in yaml.safe_load(ways.removeprefix("evaluate.ways="))
        else:
            assert cell.way in (["agent"] if cell.variant else TRAINING_WAYS)


def test_every_figure_has_a_title():
    assert {cell.figure for cell in CELLS} - {"foreground_rate"} <= set(TITLES)
    assert set(AVERAGES) == set(FIGURES)


def test_every_training_composes(configured):
    runs = Runs(configured())
    sweeps = [sweep(key, [5, 18], FIGURES).cells.values() for key in ("env.max_steps", "episodes")]
    for cell in [*CELLS, *(cell for cells in sweeps for cell in cells)]:
        runs.of(cell, 0)
    trainings = [run for run in runs.found.values() if run.module == "train"]
    assert len({run.folder for run in trainings}) == len(trainings) > 20
    for run in trainings:
        config = compose("train", list(run.overrides))
        assert config.seed == 0
        assert list(config.evaluate.ways)
        for evaluation in run.evaluations.values():
            assert compose("evaluate", [*evaluation.overrides, "run=x"])


def test_the_paper_has_a_figure_for_each_column_and_rows_of_ours_exist():
    for number, printed in _paper().items():
        table = make_table(number, ["persam", "samed", "msa"])
        rows, columns = {*table.rows}, {*table.columns}
        assert len(printed["columns"]) == len(next(iter(printed["rows"].values())))
        assert set(printed["here"]) <= set(printed["rows"])
        if number != 5:  # where rows are categories
            assert set(printed["here"].values()) <= rows
        if number not in (3, 8):
            assert set(printed["columns"]) == columns


def test_the_papers_own_figures_follow_its_orderings():
    """Each claim, put to the figures that the paper printed."""
    checked = 0
    for number in (2, 4, 8):
        printed, table = _paper()[number], make_table(number, [])
        here = {ours: theirs for theirs, ours in printed["here"].items()}
        for claim in claims(number):
            total = 0.0
            for weight, cell in claim.terms:
                row, column = next(place for place, there in table.cells.items() if there == cell)
                total += weight * printed["rows"][here[row]][printed["columns"].index(column)]
            assert claim.judge(total, total) == "holds", claim.words
            checked += 1
    assert checked == 12 + 5 + 3
    curves = _paper()[5]["rows"].values()
    assert all(curve == sorted(curve) and curve[-1] - curve[-2] < 1 for curve in curves)
