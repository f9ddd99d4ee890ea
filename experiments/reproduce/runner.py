"""Runs carried out side by side; what failed is noted, and the others go on."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from threading import Event, Lock

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from alignsam_gym.experiments.reproduce.planned_runs import PlannedRun

log = logging.getLogger(__name__)

Execute = Callable[[list[str], Path], int]
"""Carries out a command, its output added to the file; returns the exit status."""


class Subprocesses:
    """Commands as processes that share the CPUs which this process may use, unless `OMP_NUM_THREADS` is set.

    Attributes:
        workers: How many commands run at once.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._alive: list[subprocess.Popen[bytes]] = []
        self._lock = Lock()
        self._ended = False

    def __call__(self, command: list[str], output: Path) -> int:
        """Carry out a command; see `Execute`."""
        with self._lock, output.open("a") as file:
            if self._ended:
                return 130
            threads = max(1, _usable_cpus() // self.workers)
            environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
            process = subprocess.Popen(
                command, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )
            self._alive.append(process)
        return process.wait()

    def interrupt(self) -> None:
        """End them: in a session of their own they get no Ctrl-C, and of a background job they would ignore it."""
        with self._lock:
            self._ended = True
            for process in self._alive:
                process.terminate()


def carry_out(
    runs: Sequence[PlannedRun], workers: int, execute: Execute, interrupt: Callable[[], None]
) -> dict[Path, str]:
    """Fill the folders that are not filled yet.

    Args:
        runs: With their evaluations.
        workers: How many commands run at once.
        execute: Carries out a command.
        interrupt: Called on Ctrl-C, so that commands end; then this raises KeyboardInterrupt.

    Returns:
        The folders that could not be filled, with the reason.

    Raises:
        OptionError: If a folder holds a run of another configuration; then nothing has been started.
        KeyboardInterrupt: On Ctrl-C.
    """
    everything = [each for run in runs for each in (run, *run.evaluations.values())]
    for run in everything:
        run.claim()
    failures: dict[Path, str] = {}
    stopped = Event()

    def attempt(run: PlannedRun) -> None:
        if run.finished or stopped.is_set():
            return
        status = execute(run.command(), run.log)
        if not run.finished and not stopped.is_set():
            failures[run.folder] = f"exit status {status}: {_last_line(run.log)}"
            log.error("%s failed, %s; its log is %s", run.name, failures[run.folder], run.log)

    def chain(run: PlannedRun) -> None:
        attempt(run)
        progress.advance(bar)
        for evaluation in run.evaluations.values():
            if run.finished:
                attempt(evaluation)
            progress.advance(bar)

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns) as progress, ThreadPoolExecutor(workers) as pool:
        bar = progress.add_task("runs", total=len(everything))
        try:
            for future in as_completed([pool.submit(chain, run) for run in runs]):
                future.result()
        except KeyboardInterrupt:
            stopped.set()
            interrupt()
            pool.shutdown(cancel_futures=True)
            raise
    for run in runs:
        if run.folder in failures:
            for evaluation in run.evaluations.values():
                failures[evaluation.folder] = failures[run.folder]
    return failures


def _usable_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):  # fewer than the machine has, in a container or a job of a cluster
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _last_line(path: Path) -> str:
    """Return the last line of a log that is not blank."""
    lines = path.read_text(errors="replace").split("\n") if path.exists() else []
    for line in reversed(lines):
        if line.strip():
            return line.strip()
    return "no output"
