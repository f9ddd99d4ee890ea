"""Training an agent on the masks so far, as a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import RLock, Thread
from typing import Literal, NamedTuple

from filelock import FileLock, Timeout

from alignsam_gym.agents.trained_run import METRICS_FILE
from alignsam_gym.agents.training_state import CHECKPOINT
from alignsam_gym.errors import AlignSAMError, OptionError

_OUTPUT = "output.txt"
_SEEN = 4000  # bytes of the output's end, which hold its last lines
_NUMBER = re.compile(r"agent-(\d+)")
_STEPS = re.compile(r"(?P<done>\d+)/(?P<all>\d+) steps|evaluating")
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")  # of the terminal, for colours and progress bars
_PATIENCE = 20  # seconds that an interrupted training has to end by itself
_LOOK = 0.2  # seconds, far more than another program takes to look whether a training is going on

TrainingState = Literal["none", "running", "stopped", "failed", "finished"]


class TrainingStatus(NamedTuple):
    """Where the latest training stands.

    Attributes:
        state: What has become of it; ``none`` if there has been no training.
        agent: Its name.
        done: The share of its steps that has been played, in [0, 1].
        message: The last line of its output.
        can_resume: Whether it may go on from where it stopped.
    """

    state: TrainingState
    agent: str = ""
    done: float = 0.0
    message: str = ""
    can_resume: bool = False


class TrainingProcess:
    """Trainings of one folder, one at a time, each in a folder ``agent-1``, ``agent-2``, … of its own.

    Of several programs that label the folder, one trains at a time.

    Args:
        command: The words of the command that trains.
        options: Gives its arguments when a training begins.
        home: Where the folders are. The command is run in it.
        on_finished: What to do with the folder of a training that has finished, in a thread of its own.
    """

    def __init__(
        self,
        command: Sequence[str],
        options: Callable[[], Sequence[str]],
        home: Path,
        on_finished: Callable[[Path], None],
    ) -> None:
        self._command, self._options, self._home, self._on_finished = command, options, home, on_finished
        self._process: subprocess.Popen[bytes] | None = None
        self._problem = ""  # with what was trained
        self._watcher: Thread | None = None
        self._was_stopped = False  # by this program, which may have had to kill it
        self._lock = FileLock(home / "training.lock", thread_local=False)  # held while this program trains
        self._beginning = RLock()  # a folder without a process is a training that was stopped; one begins at a time

    def start(self) -> None:
        """Begin a new training.

        Raises:
            OptionError: One is going on, or there is too little to learn from.
        """
        options = self._options()
        with self._beginning:
            self._run(None, options)

    def resume(self) -> None:
        """Go on with the latest training.

        Raises:
            OptionError: One is going on, or there is none to go on with.
        """
        with self._beginning:
            folder = self._latest()
            if folder is None or not self.status().can_resume:
                raise OptionError("There is no training to go on with; begin one.")
            self._run(folder, [f"resume={folder.name}"])

    def stop(self) -> None:
        """Interrupt the training that is going on, if there is one, and wait until it has ended.

        Raises:
            OptionError: It goes on in another program.
        """
        if self._is_elsewhere():
            raise OptionError("The training goes on in another program; stop it there.")
        self._interrupt()

    def close(self) -> None:
        """Interrupt the training that is going on, and wait until what follows one that has finished is done."""
        self._interrupt()
        if self._watcher:
            self._watcher.join()

    def status(self) -> TrainingStatus:
        """Tell where the latest training stands."""
        with self._beginning:
            folder, is_running = self._latest(), self._is_here() or self._is_elsewhere()
        if folder is None:
            return TrainingStatus("none")
        tail = _tail(folder / _OUTPUT)
        last = next((line.strip() for line in reversed(tail.splitlines()) if line.strip()), "")
        finished = (folder / METRICS_FILE).exists()
        state: TrainingState = "running"
        if not is_running:
            interrupted = (
                self._was_stopped or self._process is None or self._process.returncode in (130, -signal.SIGINT)
            )
            finished = finished and not self._problem
            state = "finished" if finished else "stopped" if interrupted else "failed"
        can_resume = state in ("stopped", "failed") and (folder / CHECKPOINT).exists()
        return TrainingStatus(state, folder.name, _done(tail), self._problem or last, can_resume)

    def finished_agent(self) -> Path | None:
        """Return the folder of the latest training that has finished."""
        finished = [number for number in self._numbers() if (self._home / f"agent-{number}" / METRICS_FILE).exists()]
        return self._home / f"agent-{max(finished)}" if finished else None

    def _run(self, folder: Path | None, arguments: Sequence[str]) -> None:
        """Train in a folder, or in a new one."""
        if self._is_here() or not self._claim():
            raise OptionError("A training is going on; stop it first.")
        with ExitStack() as on_failure:
            on_failure.callback(self._lock.release)
            if folder is None:
                folder = self._home / f"agent-{max(self._numbers(), default=0) + 1}"
                folder.mkdir()
            self._begin(folder, arguments)
            on_failure.pop_all()

    def _begin(self, folder: Path, arguments: Sequence[str]) -> None:
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),  # it finds what this process finds
            "PYTHONUNBUFFERED": "1",
            "FORCE_COLOR": "1",  # without a terminal, there would be no progress bar to read from
            "COLUMNS": "200",
        }
        with (folder / _OUTPUT).open("wb") as output:
            process = subprocess.Popen(
                [*self._command, *arguments, f"hydra.run.dir={folder.name}"],
                cwd=self._home, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self._process, self._problem, self._was_stopped = process, "", False

        def wait() -> None:
            code = process.wait()
            with self._beginning:
                self._lock.release()
            if code == 0:
                try:
                    self._on_finished(folder)
                except AlignSAMError as error:
                    self._problem = str(error)

        self._watcher = Thread(target=wait, name="training", daemon=True)
        self._watcher.start()

    def _interrupt(self) -> None:
        process = self._process
        if process is not None and process.poll() is None:
            self._was_stopped = True
            process.send_signal(signal.SIGINT)
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
            if self._watcher:
                self._watcher.join()  # it lets other programs train

    def _is_here(self) -> bool:
        """Whether a training of this program is going on."""
        return self._process is not None and self._process.poll() is None

    def _is_elsewhere(self) -> bool:
        """Whether a training of another program is going on."""
        with self._beginning:
            if not Path(self._lock.lock_file).exists():
                return False  # a folder that is only looked at stays as it is
            if self._claim():
                self._lock.release()
                return False
            return True

    def _claim(self) -> bool:
        """Take the lock, once more if it is held; return whether no other program has it."""
        self._home.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=_LOOK)
        except Timeout:
            return False
        return True

    def _latest(self) -> Path | None:
        number = max(self._numbers(), default=None)
        return None if number is None else self._home / f"agent-{number}"

    def _numbers(self) -> list[int]:
        names = [_NUMBER.fullmatch(path.name) for path in self._home.glob("agent-*")]
        return [int(name[1]) for name in names if name]


def _done(output: str) -> float:
    """Read the share of the steps that have been played from the end of a training's output."""
    found = [(step["done"], step["all"]) for step in _STEPS.finditer(output)]
    if not found:
        return 0.0
    done, count = found[-1]
    return int(done) / int(count) if count else 1.0  # it is being evaluated


def _tail(file: Path) -> str:
    """Return the end of a program's output, without what controls a terminal."""
    try:
        with file.open("rb") as output:
            output.seek(max(0, file.stat().st_size - _SEEN))
            text = output.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    return _CONTROL.sub("", text.replace("\r", "\n"))
