"""The plan against what it is made from: the configuration, the known strategies and metrics, and the paper."""

from alignsam_gym.agents.policies import PromptPolicy
from alignsam_gym.evaluation.prompting_strategies import prompting_strategies
from alignsam_gym.experiments.reproduce.orderings import claims
from alignsam_gym.experiments.reproduce.paper_values import printed
from alignsam_gym.experiments.reproduce.plan import TABLES, TASK_METRICS, beyond, make_table, sweep
from alignsam_gym.experiments.reproduce.planned_runs import PlannedRuns
from alignsam_gym.metrics import TITLES

BASELINES = ["persam", "samed", "msa", "clip_points"]
CELLS = [cell for number in TABLES for cell in make_table(number, ["persam"]).cells.values()]
CELLS += beyond(["saliency"]).cells.values()
for key in ("env.max_steps", "episodes"):
    CELLS += sweep(key, [5, 18], ["blur"]).cells.values()


def test_every_metric_has_a_title():
    assert {cell.metric for cell in CELLS} - {"foreground_rate"} <= set(TITLES)


def test_every_cell_is_measured_by_the_run_that_the_plan_names(configured, composed):
    """The run's configuration composes, knows its strategies, and measures the cell's strategy at the cell's step."""
    runs, policy = PlannedRuns(configured()), object.__new__(PromptPolicy)
    for cell in CELLS:
        run = runs.find(cell, 0)
        if cell.baseline:
            assert composed("baseline", run.overrides).method.name == cell.strategy
            continue
        if run.module == "evaluate":
            config = composed("evaluate", [*run.overrides, "run=x"])
        else:
            config = composed("train", run.overrides)
            assert config.seed == 0
        measured = prompting_strategies(policy, policy, True, 0, clip=True, names=config.evaluate.strategies)
        assert cell.strategy in measured
        if cell.step is not None:
            assert cell.step <= config.evaluate.max_steps
    trainings = [run for run in runs.found.values() if run.module == "train"]
    assert len({run.overrides for run in trainings}) == len(trainings) > 20


def test_the_paper_has_a_number_for_each_column_and_rows_of_ours_exist():
    for number in TABLES:
        paper, table = printed(number), make_table(number, BASELINES)
        rows, columns = {*table.rows}, {*table.columns}
        assert all(len(numbers) == len(paper.columns) for numbers in paper.rows.values())
        assert {*paper.here} <= {*paper.rows}
        if number != 5:  # where rows are categories
            assert {*paper.here.values()} <= rows
        if number not in (3, 8):
            assert {*paper.columns} == columns


def test_the_papers_own_numbers_follow_its_orderings():
    """Each claim, put to the numbers that the paper printed."""
    checked = {}
    for number in (2, 3, 4, 8):
        paper, table = printed(number), make_table(number, BASELINES)
        here = {ours: theirs for theirs, ours in paper.here.items()}
        for claim in claims(number, TASK_METRICS, BASELINES):
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
    rows = "untrained", "disagreement", "grid", "SRM only", "msa", "clip_points"
    assert beside == {f"blur: ours better than {row}" for row in rows}


def test_the_untrained_agent_and_the_rule_without_a_policy_stand_beside_the_agent():
    """The rows that tell what PPO adds, and what any policy adds, wherever strategies are compared."""
    for number in (2, 3, 5, 9):
        cells = make_table(number, []).cells.values()
        assert {"agent", "agent, untrained", "disagreement"} <= {cell.strategy for cell in cells}


def test_only_the_rise_over_categories_is_the_papers():
    printed_ones = [claim.words for claim in claims(5, TASK_METRICS, []) if claim.printed]
    assert printed_ones == [
        f"semantic: T = {late} better than T = {early}" for early, late in ((1, 5), (5, 10), (10, 15))
    ]


def test_claims_are_of_the_tasks_at_hand():
    assert claims(3, ["blur"], BASELINES) == claims(8, ["blur"], BASELINES) == []
    (branches,) = claims(4, ["glass"], [])
    assert "glass" in branches.words
    words = [claim.words for claim in claims(2, ["blur", "glass", "semantic"], [])]
    assert {claim.split(":")[0] for claim in words} == {"blur", "glass", "all tasks"}
