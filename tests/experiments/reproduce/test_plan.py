"""What the plan names exists."""

import pytest
import yaml
from hydra import compose

from alignsam_gym.agents.policies import PromptPolicy
from alignsam_gym.evaluation.prompting_evaluation import prompting_strategies
from alignsam_gym.experiments.reproduce.orderings import claims
from alignsam_gym.experiments.reproduce.paper_values import printed
from alignsam_gym.experiments.reproduce.plan import (
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
from alignsam_gym.experiments.reproduce.task_runs import Runs
from alignsam_gym.metrics import TITLES

CELLS = [cell for number in TABLES for cell in make_table(number, ["persam"]).cells.values()]
CELLS += beyond(["saliency"]).cells.values()


@pytest.fixture(scope="module")
def known_ways():
    policy = object.__new__(PromptPolicy)
    return lambda names: prompting_strategies(policy, True, 0, clip=True, names=names)


def test_every_way_is_known(known_ways):
    assert known_ways(TRAINING_WAYS)
    for evaluation in (OTHER_LABELS, MORE_STEPS, BESIDE_RANDOM):
        for override in evaluation.overrides:
            key, value = override.split("=", 1)
            if key.endswith("strategies"):
                assert known_ways(yaml.safe_load(value))


def test_every_cell_is_measured_where_the_plan_looks():
    """A way that a cell reads is among those that its run, or its evaluation, measures."""
    for cell in CELLS:
        if cell.baseline:
            continue
        if cell.evaluation:
            (strategies,) = (value for value in cell.evaluation.overrides if value.startswith("evaluate.strategies="))
            assert cell.way in yaml.safe_load(strategies.removeprefix("evaluate.strategies="))
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
        assert list(config.evaluate.strategies)
        for evaluation in run.evaluations.values():
            assert compose("evaluate", [*evaluation.overrides, "run=x"])


BASELINES = ["persam", "samed", "msa", "clip_points"]


def test_the_paper_has_a_figure_for_each_column_and_rows_of_ours_exist():
    for number in TABLES:
        paper, table = printed(number), make_table(number, BASELINES)
        rows, columns = {*table.rows}, {*table.columns}
        assert all(len(figures) == len(paper.columns) for figures in paper.rows.values())
        assert {*paper.here} <= {*paper.rows}
        if number != 5:  # where rows are categories
            assert {*paper.here.values()} <= rows
        if number not in (3, 8):
            assert {*paper.columns} == columns


def test_the_papers_own_figures_follow_its_orderings():
    """Each claim, put to the figures that the paper printed."""
    checked = {}
    for number in (2, 3, 4, 8):
        paper, table = printed(number), make_table(number, BASELINES)
        here = {ours: theirs for theirs, ours in paper.here.items()}
        for claim in claims(number, FIGURES, BASELINES):
            if not claim.printed:
                continue
            total = 0.0
            for weight, cell in (term for pair in claim.pairs for term in zip((1, -1), pair, strict=True)):
                row, column = next(place for place, there in table.cells.items() if there == cell)
                total += weight * paper.rows[here[row]][paper.columns.index(column)]
            assert claim.judge(total, total) == "holds", claim.words
            checked[number] = checked.get(number, 0) + 1
    # five rows beside ours, on four tasks and on all of them; three branches' tasks lost and two won
    assert checked == {2: 5 * 5, 3: 5, 4: 5, 8: 3}
    curves = printed(5).rows.values()
    assert all(curve == sorted(curve) and curve[-1] - curve[-2] < 1 for curve in curves)


def test_what_the_paper_does_not_compare_is_told_apart():
    beside = {claim.words for claim in claims(2, ["blur"], BASELINES) if not claim.printed}
    assert beside == {f"blur: ours better than {row}" for row in ("grid", "SRM only", "msa", "clip_points")}


def test_only_the_rise_over_categories_is_the_papers():
    printed_ones = [claim.words for claim in claims(5, FIGURES, []) if claim.printed]
    assert printed_ones == [
        f"semantic: T = {late} better than T = {early}" for early, late in ((1, 5), (5, 10), (10, 15))
    ]


def test_claims_are_of_the_tasks_at_hand():
    assert claims(3, ["blur"], BASELINES) == claims(8, ["blur"], BASELINES) == []
    (branches,) = claims(4, ["glass"], [])
    assert "glass" in branches.words
    words = [claim.words for claim in claims(2, ["blur", "glass", "semantic"], [])]
    assert {claim.split(":")[0] for claim in words} == {"blur", "glass", "all tasks"}
