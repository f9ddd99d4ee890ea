"""Whole reproductions, with runs that take no time."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from alignsam_gym.errors import OptionError
from alignsam_gym.experiments.reproduce.__main__ import reproduce
from alignsam_gym.experiments.reproduce.plan import TABLES
from alignsam_gym.experiments.reproduce.table_document import TableDocument
from tests.experiments.reproduce.conftest import option

SOME = ["table=[2,5]", "baselines=[persam]"]


def lines(output, number):
    with (Path(output) / f"table{number}.csv").open() as file:
        return {(line["from"], line["row"], line["column"]): line for line in csv.DictReader(file)}


def folders(stub):
    return [next(part for part in command if "/runs/" in part and "run=" not in part[:4]) for command in stub.commands]


def test_tables_share_their_runs_and_nothing_is_run_twice(configured, stub):
    config = configured(*SOME)
    assert reproduce(config, stub, stub.interrupt) == 0
    # 5 tasks, each trained, and prompted for longer; 4 of them with a baseline; 2 seeds
    assert len(stub.commands) == len(set(folders(stub))) == 2 * (5 + 5 + 4)
    stub.commands.clear()
    assert reproduce(config, stub, stub.interrupt) == 0
    assert stub.commands == []
    reproduce(configured("table=9", "baselines=[persam]"), stub, stub.interrupt)
    assert stub.commands == []


def test_a_cell_is_the_mean_of_what_its_runs_measured(configured, plotting_stub):
    config = configured(*SOME)
    reproduce(config, plotting_stub, plotting_stub.interrupt)
    runs = Path(config.output) / "runs"
    measured = [json.loads((runs / f"shapes-shadow/default/seed={s}/metrics.json").read_text()) for s in (0, 1)]
    bers = [one["prompting"]["random"]["metrics"]["over_images"]["ber_percent"] for one in measured]
    line = lines(config.output, 2)["here", "w/o RL", "shadow ber_percent"]
    assert float(line["mean"]) == pytest.approx(np.mean(bers))
    assert float(line["std"]) == pytest.approx(np.std(bers, ddof=1))
    assert line["seeds"] == "2"
    ious = [one["prompting"]["agent"]["miou"] for one in measured]
    line = lines(config.output, 2)["here", "ours", "shadow iou"]
    assert float(line["mean"]) == pytest.approx(100 * np.mean(ious))
    assert float(line["low"]) <= float(line["mean"]) <= float(line["high"])
    named = next(runs.glob("shapes-named*/default/seed=0/steps/metrics.json"))
    curves = json.loads(named.read_text())["prompting"]["agent"]["iou_by_category_by_step"]
    other = json.loads(Path(str(named).replace("seed=0", "seed=1")).read_text())["prompting"]["agent"]
    mean = np.mean([curves["ring"][10], other["iou_by_category_by_step"]["ring"][10]])
    assert float(lines(config.output, 5)["here", "ring", "10"]["mean"]) == pytest.approx(100 * mean)
    text = (Path(config.output) / "table2.md").read_text()
    assert "| paper | Ours | 68.47 |" in text
    assert "interquartile mean" in text
    assert "ours better than w/o RL" in text
    assert TableDocument.read(Path(config.output) / "table2.json").to_markdown() == text
    for name in ("table2.png", "table5.png"):
        assert (Path(config.output) / name).stat().st_size > 10_000


def test_a_difference_over_tasks_is_the_mean_of_the_tasks(configured, stub):
    config = configured("table=2", "baselines=[persam]")
    reproduce(config, stub, stub.interrupt)
    found = {}
    *_, orderings = TableDocument.read(Path(config.output) / "table2.json").further
    for words, printed, judged, difference, between in orderings.rows:
        low, high = map(float, between.split(" to "))
        assert low <= float(difference) <= high
        assert (judged == "holds") == (low > 0)
        found[words] = (printed, float(difference))
    for row, printed in {"w/o RL": "yes", "persam": "yes", "SRM only": ""}.items():
        by_task = [found[f"{task}: ours better than {row}"][1] for task in ("blur", "shadow", "glass", "saliency")]
        assert found[f"all tasks: ours better than {row}"] == (printed, pytest.approx(np.mean(by_task), abs=0.02))


def test_a_failed_run_leaves_the_others_and_is_tried_again(configured, stub):
    config = configured(*SOME)
    stub.fails = lambda command: "dataset=shapes-shadow" in command and "seed=1" in command
    failed = reproduce(config, stub, stub.interrupt)
    text = (Path(config.output) / "table2.md").read_text()
    assert (
        failed == 10 * 2 + 4 * 5
    )  # every row of a task's two columns, and what is prompted for longer, by four strategies
    assert "1 of 2 seeds failed" in text
    assert "exit status 1: error: there is no such data set" in text
    assert lines(config.output, 2)["here", "ours", "blur iou"]["failed"] == "0"
    stub.fails = lambda command: False
    stub.commands.clear()
    assert reproduce(config, stub, stub.interrupt) == 0
    assert len(stub.commands) == 3  # the training, its evaluation, the baseline
    assert "failed" not in (Path(config.output) / "table2.md").read_text()


def test_cells_without_any_run_say_failed(configured, stub):
    config = configured("table=4")
    stub.fails = lambda command: "dataset=shapes-mirror" in command
    reproduce(config, stub, stub.interrupt)
    text = (Path(config.output) / "table4.md").read_text()
    assert "| failed |" in text
    assert "not measured" in text


def test_a_branch_that_the_data_set_has_anyway_is_no_run_of_its_own(configured, stub):
    config = configured("table=4")
    reproduce(config, stub, stub.interrupt)
    there = {folder.name for folder in (Path(config.output) / "runs/shapes").iterdir()}
    assert there == {"default", "branch=explicit"}
    (named,) = (Path(config.output) / "runs").glob("shapes-named*")
    assert {folder.name for folder in named.iterdir()} == {"default", "branch=implicit"}


def test_a_changed_configuration_is_an_error(configured, stub):
    reproduce(configured("table=9"), stub, stub.interrupt)
    stub.commands.clear()
    with pytest.raises(OptionError, match=r"another configuration \(nothing there, episodes=3 now\)"):
        reproduce(configured("table=9", "overrides=['episodes=3']"), stub, stub.interrupt)
    assert stub.commands == []


def test_the_order_of_overrides_does_not_count_but_for_those_of_one_key(configured, stub):
    reproduce(configured("table=9", "overrides=['episodes=3','srm.width=8']"), stub, stub.interrupt)
    stub.commands.clear()
    reproduce(configured("table=9", "overrides=['srm.width=8','episodes=5','episodes=3']"), stub, stub.interrupt)
    assert stub.commands == []
    with pytest.raises(OptionError, match=r"\(episodes=3 there, episodes=5 now\)"):
        reproduce(configured("table=9", "overrides=['episodes=3','episodes=5','srm.width=8']"), stub, stub.interrupt)


def test_an_interrupted_training_is_resumed(configured, stub):
    config = configured("table=9", "seeds=[0]")
    folder = Path(config.output).resolve() / "runs/shapes/default/seed=0"

    def stop(command, log):
        if any("runs/shapes/" in part for part in command):
            (folder / "checkpoint.pt").touch()
            raise KeyboardInterrupt
        return stub(command, log)

    ended = []
    with pytest.raises(KeyboardInterrupt):
        reproduce(config, stop, lambda: ended.append(True))
    assert ended
    stub.commands.clear()
    assert reproduce(config, stub, stub.interrupt) == 0
    (command,) = (command for command in stub.commands if any("runs/shapes/" in part for part in command))
    assert f"resume='{folder}'" in command
    assert not any(part.startswith("dataset=") for part in command)


def test_baselines_have_the_trainings_model_and_images(configured, stub):
    config = configured("table=10", "seeds=[0]", "overrides=['sam=vit_b','evaluate.limit=7']")
    reproduce(config, stub, stub.interrupt)
    baselines = [command for command in stub.commands if command[3] == "baseline"]
    assert len(baselines) == 3 * 2
    for command in baselines:
        assert "env.sam='vit_b'" in command
        assert "evaluate.limit=7" in command
    shown = {tuple(option(command, key) for key in ("env.shots", "method.references")) for command in baselines}
    assert shown == {("5", "5"), ("20", "20")}  # all labelled images show the target


def test_elsewhere_persam_has_one_reference_as_published(configured, stub):
    reproduce(configured(*SOME, "seeds=[0]"), stub, stub.interrupt)
    baselines = [command for command in stub.commands if command[3] == "baseline"]
    assert baselines
    assert not any(option(command, "method.references") for command in baselines)


def test_baselines_have_the_trainings_data_too(configured, stub):
    changes = "overrides=['dataset.category=ring','env.shots_seed=7','episodes=3']"
    alone = [f"~tasks.{task}" for task in ("blur", "shadow", "glass", "semantic")]
    asked = ["table=2", "seeds=[0]", "baselines=[persam]", "tasks.saliency=shapes-named", *alone, changes]
    reproduce(configured(*asked), stub, None)
    (baseline,) = (command for command in stub.commands if command[3] == "baseline")
    assert {"dataset.category=ring", "env.shots_seed=7"} < set(baseline)
    assert "episodes=3" not in baseline


def test_a_folder_in_which_nothing_began_may_be_of_another_configuration(configured, stub):
    def stop(command, log):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reproduce(configured("table=9", "seeds=[0]"), stop, lambda: None)
    assert reproduce(configured("table=9", "seeds=[0]", "overrides=['episodes=3']"), stub, stub.interrupt) == 0
    assert all("episodes=3" in command for command in stub.commands)


def test_torn_and_empty_metrics_are_failed_cells(configured, stub):
    config = configured("table=9", "seeds=[0]")
    reproduce(config, stub, stub.interrupt)
    runs = Path(config.output) / "runs"
    (runs / "shapes-shadow/default/seed=0/metrics.json").write_text('{"seed": 0, "prompt')
    (runs / "shapes-mirror/default/seed=0/metrics.json").write_text('{"seed": 0}')
    unprompted = runs / "shapes/default/seed=0/metrics.json"
    metrics = json.loads(unprompted.read_text())
    metrics["prompting"]["agent"]["foreground_rate"] = None
    unprompted.write_text(json.dumps(metrics))
    assert reproduce(config, stub, stub.interrupt) == 4 * 2 + 4 * 2 + 1  # four rows of two columns, twice
    table = (Path(config.output) / "table9.md").read_text()
    assert "shapes-shadow/default/seed=0/metrics.json cannot be read" in table
    assert "shapes-mirror/default/seed=0/metrics.json holds no measurements" in table
    assert "saliency FR, seed 0: agent prompted no image" in table


def test_without_rliable_nothing_begins(configured, stub, monkeypatch):
    monkeypatch.setitem(sys.modules, "rliable", None)
    with pytest.raises(OptionError, match="needs rliable"):
        reproduce(configured("table=2"), stub, stub.interrupt)
    assert stub.commands == []


def test_all_tables_of_the_paper_can_be_made_by_its_own_settings(configured, stub):
    config = configured("table=all", "seeds=[0]", "overrides=['experiment=paper']")
    assert reproduce(config, stub, stub.interrupt) == 0
    made = {path.name for path in Path(config.output).glob("table*.md")}
    assert made == {f"table{number}.md" for number in TABLES}
    asked = "table=beyond", "seeds=[0]", "overrides=['experiment=paper']"
    assert reproduce(configured(*asked), stub, None) == 0


def test_a_table_says_what_its_own_metrics_are_means_over(configured, stub):
    config = configured("table=beyond", "beyond=[semantic]", "seeds=[0]")
    assert reproduce(config, stub, stub.interrupt) == 0
    text = (Path(config.output) / "tablebeyond.md").read_text()
    assert "means over images (semantic)" in text
    assert "over categories" not in text


def test_tasks_that_are_left_out_are_not_run(configured, stub):
    left_out = [f"~tasks.{task}" for task in ("shadow", "glass", "semantic")]
    config = configured("table=[2,4,5,9]", "figure=[5,7]", "figure7.T=[5]", "figure7.E=[30]", "seeds=[0]", *left_out)
    assert reproduce(config, stub, stub.interrupt) == 0
    trained_on = {argument for command in stub.commands for argument in command if argument.startswith("dataset=")}
    assert trained_on == {"dataset=shapes-defocus", "dataset=shapes"}
    output = Path(config.output)
    assert sorted(path.name for path in output.glob("figure5*")) == ["figure5_blur.png", "figure5_saliency.png"]
    ordered = (output / "table2.md").read_text().split("What is ahead of what")[1]
    assert "blur" in ordered
    assert "shadow" not in ordered


def test_sweeps_and_strips(configured, plotting_stub):
    config = configured("figure=all", "figure7.T=[5,15]", "figure7.E=[8,30]", "figure7.tasks=[blur]", "seeds=[0]")
    assert reproduce(config, plotting_stub, plotting_stub.interrupt) == 0
    output = Path(config.output)
    assert {folder.name for folder in (output / "runs/shapes-defocus").iterdir()} == {
        "default", "env.max_steps=5", "episodes=30"
    }  # fmt: skip
    assert (output / "figure7.png").stat().st_size > 10_000
    assert len(list(output.glob("figure5_*.png"))) == len(list(output.glob("figure6_*.png"))) == 5
