import csv
import sys
import time

import pytest

from alignsam_gym.agents.callbacks import EpisodeStatistics
from alignsam_gym.agents.training_log import STEP, check_logger, make_logger
from alignsam_gym.agents.training_state import Curves
from alignsam_gym.errors import OptionError

MAX_STEPS = 6


@pytest.fixture
def learn(make_toy_learner, tmp_path):
    """Trains from a step to another, with a log in the folder, as a training that was interrupted goes on."""

    def train(logger, begin, end):
        model, curves = make_toy_learner("ppo"), Curves()
        model.num_timesteps = begin
        log = make_logger(logger, tmp_path, "ppo", {"seed": 0}, begin)
        model.set_logger(log)
        model.learn(end - begin, EpisodeStatistics(curves, MAX_STEPS), log_interval=None, reset_num_timesteps=False)
        log.close()
        return curves.history

    return train


def rows_of(folder):
    with (folder / "progress.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_csv_file_goes_on_without_the_rows_that_were_lost(learn, tmp_path):
    first = learn("csv", 0, 72)  # three rounds of 4 rows and 6 steps
    before = rows_of(tmp_path)
    assert [int(row[STEP]) for row in before] == [24, 48, 72]
    assert [float(row["rollout/iou"]) for row in before] == pytest.approx([entry["iou"] for entry in first])
    learn("csv", 48, 96)  # the checkpoint was one round behind
    after = rows_of(tmp_path)
    assert [int(row[STEP]) for row in after] == [24, 48, 72, 96]
    assert after[:2] == before[:2]
    assert "iou_by_step/06" in after[0]


def test_tensorboard_goes_on_in_one_folder(learn, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    learn("tensorboard", 0, 48)
    learn("tensorboard", 48, 72)
    log = EventAccumulator(str(tmp_path / "tensorboard/ppo_0"))
    log.Reload()
    assert [event.step for event in log.Scalars("rollout/reward")] == [24, 48, 72]
    assert STEP not in log.Tags()["scalars"]


@pytest.mark.slow
def test_weights_and_biases_keeps_one_run_offline(learn, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    learn("wandb", 0, 48)
    learn("wandb", 48, 72)
    files = sorted(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    assert len(files) == 2
    assert {file.stem for file in files} == {f"run-{(tmp_path / 'wandb/run_id.txt').read_text()}"}
    for _ in range(600):  # another process writes the files, and may be late where the machine is busy
        rounds = [file.read_bytes().count(b"rollout/reward") for file in files]
        if rounds[0] == 2 * rounds[1] > 0:
            return
        time.sleep(0.1)
    pytest.fail(f"the files have {rounds} rounds")


@pytest.mark.parametrize(("name", "says"), [("wand", "logger='wand' is unknown"), ("wandb", r"alignsam-gym\[wandb\]")])
def test_a_logger_that_is_not_here_is_told(monkeypatch, name, says):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(OptionError, match=says):
        check_logger(name)


def test_a_refusal_of_weights_and_biases_says_what_to_do(monkeypatch, tmp_path):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setattr(wandb, "init", lambda **options: (_ for _ in ()).throw(wandb.Error("no API key")))
    with pytest.raises(OptionError, match=r"no API key\): log in by `wandb login`, or set WANDB_MODE=offline"):
        make_logger("wandb", tmp_path, "ppo", {}, 0)
