import json
from pathlib import Path

import numpy as np
import pytest

from alignsam_gym.errors import DataError
from alignsam_gym.experiments.report.found_runs import finished_folders
from alignsam_gym.experiments.summarize import category_ious, final_metrics, prompting_summary, read_runs
from alignsam_gym.result_table import Strong


def run(seed, agent, random):
    def scores(ious):
        return {
            "images": len(ious), "miou": float(np.mean(ious)), "miou_by_step": [0.1, float(np.mean(ious))],
            "foreground_rate": 0.5, "repeated": 0.0,
        }  # fmt: skip

    by_image = {
        name: {str(i): iou for i, iou in enumerate(ious)} for name, ious in (("agent", agent), ("random", random))
    }
    return {"seed": seed, "prompting": {"agent": scores(agent), "random": scores(random)}, "iou_by_image": by_image}


def write(folder, metrics, config=""):
    """A run of some metrics; the others that every run has say nothing."""
    folder.mkdir(parents=True)
    usual = {"images": 3, "miou_by_step": [0.5], "metrics": {}}
    summaries = {name: usual | given for name, given in metrics["prompting"].items()}
    whole = {"seed": 0, "table": [], "iou_by_image": summaries} | metrics | {"prompting": summaries}
    (folder / "metrics.json").write_text(json.dumps(whole))
    (folder / "config.yaml").write_text(config)
    return folder


def write_configured(folder, config):
    """A run of which nothing but its configuration matters."""
    return write(folder, {"prompting": {"agent": {"images": 3}}}, config)


def cells(table, name):
    """The texts of the row of that name; the mean ± deviation is of two parts."""
    row = next(row for row in table.rows if row[0] == name)
    return [cell.text + cell.rest if isinstance(cell, Strong) else cell for cell in row]


def test_means_spreads_and_intervals():
    rng = np.random.default_rng(0)
    runs = [run(seed, rng.normal(0.7 + 0.01 * seed, 0.05, 400), rng.normal(0.5, 0.05, 400)) for seed in range(5)]
    table = prompting_summary(runs, resamples=500)
    mean, spread = cells(table, "agent")[2].split(" ± ")
    assert abs(float(mean) - 0.72) < 0.005
    assert abs(float(spread) - np.std([0.7, 0.71, 0.72, 0.73, 0.74], ddof=1)) < 0.004
    low, high = map(float, cells(table, "agent")[3].split(" to "))
    assert low < 0.72 < high
    assert high - low < 0.04
    low, high = map(float, cells(table, "agent")[4].split(" to "))
    assert low < 0.22 < high
    assert cells(table, "random")[4] == ""


def test_equal_prompters_differ_by_nothing():
    same = np.linspace(0, 1, 50)
    low, high = cells(prompting_summary([run(0, same, same), run(1, same, same)], resamples=50), "agent")[4].split(
        " to "
    )
    assert float(low) == float(high) == 0


def test_the_data_sets_own_metrics_say_what_they_are_means_of():
    def measured(ber):
        metrics = {"over_images": {"ber_percent": ber, "mae": 0.1}, "over_pixels": {"ber_percent": 2 * ber}}
        return {"table": ["ber_percent"], "prompting": {"agent": {"metrics": metrics}}}

    table = final_metrics([measured(10.0), measured(20.0)])
    assert table.columns == ["prompting", "BER % ↓ over images", "BER % ↓ over pixels"]
    assert cells(table, "agent") == ["agent", "15.000 ± 7.071", "30.000 ± 14.142"]


def test_categories_are_rows_and_prompting_strategies_columns():
    def measured(cat, dog):
        figures = {"cat": {"iou": cat}, "dog": {"iou": dog}}
        return {"prompting": {name: {"metrics": {"by_category": figures}} for name in ("agent", "oracle")}}

    table = category_ious([measured(0.2, 0.5), measured(0.4, 0.7)])
    assert table.columns == ["category", "agent", "oracle"]
    assert cells(table, "cat") == ["cat", "0.300", "0.300"]
    assert cells(table, "dog") == ["dog", "0.600", "0.600"]


def test_a_method_without_steps_has_its_final_metric_alone():
    runs = [run(seed, [0.6, 0.8], [0.5, 0.5]) for seed in (0, 1)]
    for one in runs:
        one["prompting"]["persam"] = {"images": 2, "miou": 0.4, "miou_by_step": [0.4], "foreground_rate": None}
        one["iou_by_image"]["persam"] = {"0": 0.3, "1": 0.5}
    table = prompting_summary(runs, resamples=20)
    assert table.columns[1:3] == ["mIoU after 0", "mIoU at the end"]
    name, before, final, interval, gain, rate, repeated = cells(table, "persam")
    assert (name, before, final, rate, repeated) == ("persam", "", "0.400 ± 0.000", "", "")
    assert interval
    assert gain
    alone = [{**one, "prompting": {"persam": one["prompting"]["persam"]}} for one in runs]
    assert cells(prompting_summary(alone, resamples=20), "persam")[4] == ""


def test_a_torn_file_is_told(tmp_path):
    (tmp_path / "metrics.json").write_text("{")
    with pytest.raises(DataError, match=r"metrics\.json cannot be read"):
        read_runs([tmp_path])


@pytest.mark.parametrize("config", ["env: {stop: [", "env: ${", "- 1"])
def test_a_damaged_configuration_is_told(tmp_path, config):
    write_configured(tmp_path / "a", config)
    with pytest.raises(DataError, match=r"a/config\.yaml is no configuration of a run \("):
        read_runs([tmp_path / "a"])


def test_a_run_that_is_named_twice_counts_once(tmp_path, monkeypatch):
    folders = [write_configured(tmp_path / name, "seed: 0") for name in ("runs/a", "runs/a/evaluation", "runs/b")]
    monkeypatch.chdir(tmp_path)
    found = finished_folders([tmp_path / "runs/a", Path("runs"), Path("runs/../runs/b")])
    assert found == [folders[0], folders[2]]
    assert len(read_runs(found)) == 2


def test_every_folder_that_is_named_must_have_a_finished_run(tmp_path):
    write_configured(tmp_path / "a", "seed: 0")
    (tmp_path / "begun").mkdir()
    with pytest.raises(DataError, match=r"no metrics\.json below .*/begun, .*/mistyped; is each name right"):
        finished_folders([tmp_path / name for name in ("a", "begun", "mistyped")])
    with pytest.raises(DataError, match="below no folder at all"):
        finished_folders([])


def test_runs_of_different_methods_are_not_averaged(tmp_path):
    folders = [
        write(tmp_path / name, {"seed": 0, "prompting": {name: {"images": 3, "miou": 0.5}}})
        for name in ("persam", "samed")
    ]
    assert read_runs(folders[:1])[0]["seed"] == 0
    with pytest.raises(DataError, match=r"samed measures samed, but .*persam persam"):
        read_runs(folders)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"measured_on": "VOC2012"}, "measures 3 test images of VOC2012, but .* 3 test images of toys"),
        ({"images": 2}, "measures 2 test images of toys, but .* 3 test images of toys"),
        ({"split": "development"}, "measures 3 development images of toys, but .* 3 test images of toys"),
        ({"table": ["mae"]}, "measures mae, .* iou"),
        ({"miou_by_step": [0.1, 0.2, 0.3]}, "agent with 2 prompts, but .* agent with 1 prompts"),
        ({"metrics": {"over_categories": {}}}, "iou, over_categories, but .* iou, over_images"),
    ],
)
def test_what_was_measured_otherwise_is_not_averaged(tmp_path, changes, says):
    folders = []
    for name, changed in (("first", {}), ("second", changes)):
        summary = {"images": 3, "miou_by_step": [0.1, 0.2], "metrics": {"over_images": {}}}
        run = {"measured_on": "toys", "table": ["iou"], "split": "test"}
        summary |= {key: value for key, value in changed.items() if key in summary}
        run |= {key: value for key, value in changed.items() if key in run}
        folders.append(write(tmp_path / name, run | {"prompting": {"agent": summary}}))
    with pytest.raises(DataError, match=says):
        read_runs(folders)


def test_only_seeds_may_differ_in_the_configuration_of_what_is_averaged(tmp_path):
    first = write_configured(tmp_path / "a", "seed: 0\nenv: {stop: false, shots_seed: 0}\ndevice: cpu")
    second = write_configured(tmp_path / "b", "seed: 1\nenv: {stop: false, shots_seed: 1}\ndevice: cuda\nlogger: csv")
    other = write_configured(tmp_path / "c", "seed: 2\nenv: {stop: true, shots_seed: 2}\ndevice: cpu")
    assert len(read_runs([first, second])) == 2
    with pytest.raises(DataError, match=r"of 2 configurations.*/a: env\.stop=False; .*/c: env\.stop=True"):
        read_runs([first, second, other])


def test_seeds_that_found_out_different_answers_are_of_one_configuration(tmp_path):
    first = write_configured(tmp_path / "a", "seed: 0\nenv: {answer: sam}\nfound_out: [env.answer]")
    second = write_configured(tmp_path / "b", "seed: 1\nenv: {answer: fused}\nfound_out: [env.answer]")
    asked_for = write_configured(tmp_path / "c", "seed: 2\nenv: {answer: sam}")
    assert len(read_runs([first, second])) == 2
    with pytest.raises(DataError, match=r"of 2 configurations.*/a: env\.answer=auto; .*/c: env\.answer=sam"):
        read_runs([first, second, asked_for])


def test_a_single_run_has_no_spread():
    table = prompting_summary([run(0, np.array([0.5, 0.7]), np.array([0.2, 0.4]))], resamples=20)
    assert "| **0.600** |" in table.to_markdown()
    assert "±" not in table.to_markdown()
