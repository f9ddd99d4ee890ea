"""The processes that carry out commands."""

import os
import sys

import pytest

from alignsam_gym.experiments.reproduce.runner import Subprocesses

TELL_THREADS = [sys.executable, "-c", "import os; print(os.environ['OMP_NUM_THREADS'])"]


@pytest.mark.parametrize(("workers", "threads"), [(1, "6"), (4, "1"), (9, "1")])
def test_commands_share_the_cpus_that_this_process_may_use(tmp_path, monkeypatch, workers, threads):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(6)), raising=False)
    assert Subprocesses(workers)(TELL_THREADS, tmp_path / "log.txt") == 0
    assert (tmp_path / "log.txt").read_text().strip() == threads


def test_all_cpus_count_where_no_system_says_which_may_be_used(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 10)
    Subprocesses(2)(TELL_THREADS, tmp_path / "log.txt")
    assert (tmp_path / "log.txt").read_text().strip() == "5"


def test_a_number_of_threads_that_is_set_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    Subprocesses(1)(TELL_THREADS, tmp_path / "log.txt")
    assert (tmp_path / "log.txt").read_text().strip() == "3"
