"""A lock on a run's folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from alignsam_gym.errors import OptionError


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder, whose checkpoints and measurements they would overwrite.

    Raises:
        OptionError: If another process is in it.
    """
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout as error:
        raise OptionError(f"Another process is at work in {folder}; wait until it ends, or choose another.") from error
