import os
import signal
import subprocess
import sys
import time
from threading import Thread

import pytest

from alignsam_gym.errors import OptionError
from alignsam_gym.labelling.training_process import TrainingProcess

STUB = """
import pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[-1].removeprefix("hydra.run.dir="))
pathlib.Path(folder, "arguments").write_text(" ".join(sys.argv[1:]))
print("\\x1b[2Ktraining ---- \\x1b[32m30/120 steps\\x1b[0m reward", end="\\r", flush=True)
if "wait" in sys.argv:
    (folder / "checkpoint.pt").touch()
    time.sleep(600)
if "deaf" in sys.argv:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    (folder / "checkpoint.pt").touch()
    time.sleep(600)
if "fail" in sys.argv:
    sys.exit("error: something is wrong")
print("training ---- 120/120 steps", flush=True)
print("evaluating --- 1/1", flush=True)
(folder / "metrics.json").touch()
"""
"""Stands for `alignsam train`: what it prints, and the files that tell how far it came."""


@pytest.fixture
def make_process(tmp_path):
    made, finished = [], []
    # A shell that runs the tests in the background has interruptions ignored, and processes inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def make(*options):
        process = TrainingProcess([sys.executable, "-c", STUB], lambda: options, tmp_path, finished.append)
        process.finished = finished
        made.append(process)
        return process

    yield make
    for process in made:
        process.close()
    signal.signal(signal.SIGINT, before)


def wait_until(condition):
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail("nothing happened in five minutes")


def test_there_is_nothing_before_the_first_training(make_process):
    process = make_process()
    assert process.status().state == "none"
    assert process.finished_agent() is None
    process.stop()
    with pytest.raises(OptionError, match="no training to go on with"):
        process.resume()


def test_a_training_that_ends_gives_its_folder(make_process, tmp_path):
    process = make_process("dataset=folder")
    for number in (1, 2):
        process.start()
        wait_until(lambda: process.finished[number - 1 :])  # noqa: B023
        assert process.finished[-1] == process.finished_agent() == tmp_path / f"agent-{number}"
        arguments = (tmp_path / f"agent-{number}/arguments").read_text()
        assert arguments == f"dataset=folder hydra.run.dir=agent-{number}"
    status = process.status()
    assert (status.state, status.agent, status.done, status.can_resume) == ("finished", "agent-2", 1.0, False)


def test_a_training_is_watched_stopped_and_goes_on(make_process, tmp_path):
    process = make_process("wait")
    process.start()
    wait_until(lambda: (tmp_path / "agent-1/checkpoint.pt").exists())
    status = process.status()
    assert (status.state, status.done, status.message) == ("running", 0.25, "training ---- 30/120 steps reward")
    with pytest.raises(OptionError, match="going on"):
        process.start()
    process.stop()
    assert (process.status().state, process.status().can_resume) == ("stopped", True)
    again = make_process("wait")  # the page was closed, and opened again
    assert (again.status().state, again.status().can_resume) == ("stopped", True)
    again.resume()
    wait_until(lambda: again.finished)
    assert (tmp_path / "agent-1/arguments").read_text() == "resume=agent-1 hydra.run.dir=agent-1"
    assert not (tmp_path / "agent-2").exists()


def test_a_training_that_fails_says_why(make_process, tmp_path):
    process = make_process("fail")
    process.start()
    wait_until(lambda: process.status().state != "running")
    status = process.status()
    assert (status.state, status.message, status.can_resume) == ("failed", "error: something is wrong", False)
    assert process.finished_agent() is None


def test_an_interruption_of_all_is_no_failure(make_process, tmp_path):
    process = make_process("wait")
    process.start()
    wait_until(lambda: (tmp_path / "agent-1/checkpoint.pt").exists())
    os.kill(process._process.pid, signal.SIGINT)  # as the terminal does to all
    wait_until(lambda: process.status().state == "stopped")


def test_a_training_that_has_to_be_killed_is_stopped_not_failed(make_process, tmp_path, monkeypatch):
    monkeypatch.setattr("alignsam_gym.labelling.training_process._PATIENCE", 0.1)
    process = make_process("deaf")
    process.start()
    wait_until(lambda: (tmp_path / "agent-1/checkpoint.pt").exists())
    process.stop()
    assert process._process.returncode == -signal.SIGKILL
    assert (process.status().state, process.status().can_resume) == ("stopped", True)


def test_of_trainings_that_begin_at_a_time_one_does(make_process, tmp_path, monkeypatch):
    begin = subprocess.Popen

    def begin_slowly(*arguments, **options):
        time.sleep(0.3)
        return begin(*arguments, **options)

    monkeypatch.setattr(subprocess, "Popen", begin_slowly)
    process, told = make_process("wait"), []

    def start():
        try:
            process.start()
        except OptionError as error:
            told.append(str(error))

    threads = [Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == ["A training is going on; stop it first."] * 3
    assert [path.name for path in tmp_path.glob("agent-*")] == ["agent-1"]
    wait_until(lambda: (tmp_path / "agent-1/checkpoint.pt").exists())  # before that, an interruption may be missed


def test_of_two_programs_on_a_folder_one_trains_at_a_time(make_process, tmp_path):
    one, other = make_process("wait"), make_process("wait")
    one.start()
    wait_until(lambda: (tmp_path / "agent-1/checkpoint.pt").exists())
    assert other.status() == one.status()
    assert other.status().state == "running"
    with pytest.raises(OptionError, match="going on"):
        other.start()
    with pytest.raises(OptionError, match="no training to go on with"):
        other.resume()
    with pytest.raises(OptionError, match="in another program; stop it there"):
        other.stop()
    one.stop()
    assert (other.status().state, other.status().can_resume) == ("stopped", True)
    other.start()
    assert one.status().state == other.status().state == "running"
    wait_until(lambda: (tmp_path / "agent-2/checkpoint.pt").exists())
    other.stop()
    one.resume()
    wait_until(lambda: one.finished)


def test_a_training_that_cannot_begin_keeps_no_other_from_it(make_process, monkeypatch):
    one, other = make_process(), make_process()
    with monkeypatch.context() as patch:
        patch.setattr(one, "_command", ["no/such/program"])
        with pytest.raises(FileNotFoundError):
            one.start()
    assert one.status().state == "stopped"
    other.start()
    wait_until(lambda: other.finished)
