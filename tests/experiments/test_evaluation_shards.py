"""An evaluation in shards, as the commands measure and merge it, on drawn scenes with the toy SAM."""

import pytest
from hydra import compose, initialize_config_module

from alignsam_gym.experiments.evaluate import main

IMAGES = "dataset=shapes", "evaluate.limit=5", "evaluate.batch_size=2"  # three batches, the last of one image
KEYS = *IMAGES, "evaluate.strategies=[agent,random]", "evaluate.save_predictions=true", "evaluate.filmstrips=1"


@pytest.fixture
def evaluate(make_run, tmp_path):
    """Runs `alignsam evaluate` on one run; gives the files that it leaves in the output folder."""
    run = make_run()

    def command(output, *overrides):
        with initialize_config_module("alignsam_gym.conf", version_base="1.3"):
            main(compose("evaluate", [f"run={run}", f"output={tmp_path / output}", *KEYS, *overrides]))
        files = (file for file in (tmp_path / output).rglob("*") if file.is_file() and file.name != ".lock")
        return {file.relative_to(tmp_path / output).as_posix(): file.read_bytes() for file in files}

    return command


def tables(capsys):
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith(("┃", "│"))]


def test_shards_put_together_are_the_evaluation_by_one_process(evaluate, capsys):
    whole, shown = evaluate("whole"), tables(capsys)
    for shard in (2, 0, 1):
        assert "metrics.json" not in evaluate("parts", "num_shards=3", f"shard={shard}")
        assert not tables(capsys)
    assert evaluate("parts", "num_shards=3", "merge=true") == whole
    assert tables(capsys) == shown
    assert "agent" in shown[1]
    assert {"metrics.json", "filmstrip.png", "config.yaml"} < whole.keys()
    assert len([name for name in whole if name.startswith("predictions/")]) == 2 * 5


def test_what_keeps_shards_from_being_put_together_is_told(evaluate, tmp_path):
    with pytest.raises(SystemExit, match=r"lacks 2 of 2 shards.*-m num_shards=2 shard=0,1"):
        evaluate("parts", "num_shards=2", "merge=true")
    evaluate("parts", "num_shards=2", "shard=0")
    with pytest.raises(SystemExit, match=r"lacks 1 of 2 shards.*-m num_shards=2 shard=1"):
        evaluate("parts", "num_shards=2", "merge=true")
    evaluate("parts", "num_shards=2", "shard=1", "seed=5")
    with pytest.raises(SystemExit, match=r"1-of-2 was measured with another seed;"):
        evaluate("parts", "num_shards=2", "merge=true")
    evaluate("parts", "num_shards=2", "shard=1")
    log = tmp_path / "parts/shards/1-of-2/evaluation.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines[:-1]))  # as if it were still at work
    with pytest.raises(SystemExit, match=r"lacks 1 of 2 shards, or their ends.*shard=1"):
        evaluate("parts", "num_shards=2", "merge=true")
    log.write_text("".join(['{"signature": "of other weights"}\n', *lines[1:]]))
    with pytest.raises(SystemExit, match=r"1-of-2 was measured with another agent, data set, version or precision"):
        evaluate("parts", "num_shards=2", "merge=true")
    assert not (tmp_path / "parts/metrics.json").exists()


def test_shards_with_other_keys_leave_a_finished_evaluation_alone(evaluate, tmp_path):
    whole = evaluate("whole")
    for further in (["shard=0"], ["merge=true"]):
        with pytest.raises(SystemExit, match=r"whole holds an evaluation with another evaluate\.max_steps; "):
            evaluate("whole", "num_shards=2", "evaluate.max_steps=1", *further)
    assert {name: (tmp_path / "whole" / name).read_bytes() for name in whole} == whole
    assert not (tmp_path / "whole/shards").exists()


@pytest.mark.parametrize("finished", [True, False])
def test_a_trainings_folder_takes_no_evaluation(evaluate, tmp_path, finished):
    kept = (tmp_path / "run/config.yaml").read_bytes()
    if not finished:
        (tmp_path / "other").mkdir()
        (tmp_path / "other/checkpoint.pt").touch()
    folder = "run" if finished else "other"
    with pytest.raises(SystemExit, match=rf"error: output=.*/{folder} is the folder of a training"):
        evaluate(folder)
    assert not (tmp_path / folder / "metrics.json").exists()
    assert (tmp_path / "run/config.yaml").read_bytes() == kept


def test_what_other_keys_had_measured_is_discarded_with_a_warning(evaluate, caplog):
    evaluate("parts", "num_shards=2", "shard=0")
    evaluate("parts", "num_shards=2", "shard=0")
    assert "discarded" not in caplog.text
    evaluate("parts", "num_shards=2", "shard=0", "seed=5")
    assert "0-of-2/evaluation.jsonl holds was measured with other keys or another agent, and is disc" in caplog.text


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["num_shards=2", "shard=2"], r"shard=2: shards are numbered from 0 to num_shards − 1 = 1"),
        (["num_shards=4"], "4 shards: 5 images are 3 batches of 2"),
        (["merge=true"], "merge=true puts shards together: give their number"),
    ],
)
def test_shards_that_there_cannot_be(evaluate, overrides, says):
    with pytest.raises(SystemExit, match=f"error: {says}"):
        evaluate("parts", *overrides)
