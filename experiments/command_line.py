"""How a command ends when its user made a mistake or interrupted it, and goes on when its output is not read."""

from __future__ import annotations

import sys
from contextlib import ContextDecorator
from io import BufferedWriter, FileIO, TextIOWrapper
from types import TracebackType
from typing import Any

from alignsam_gym.errors import AlignSAMError, first_line


class _OutlivesReader(FileIO):
    """An open file that takes what is written after the reader of its pipe has left, and forgets it."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            return len(data)


def outlive_readers() -> None:
    """Let the process go on, and end as it would, after whoever reads its output has left, as ``| head`` does.

    So a training is not lost with the lines that nobody wanted. It does nothing where a test or a notebook has put
    something else in the place of the standard output or the standard error.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or stream is not getattr(sys, f"__{name}__"):
            continue
        stream.flush()
        raw = _OutlivesReader(stream.fileno(), "w", closefd=False)
        layout = {"encoding": stream.encoding, "errors": stream.errors, "line_buffering": stream.line_buffering}
        buffer = raw if stream.write_through else BufferedWriter(raw)  # as Python itself does by -u
        setattr(sys, name, TextIOWrapper(buffer, write_through=stream.write_through, **layout))


class _ExitOnUserError(ContextDecorator):
    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, KeyboardInterrupt):
            sys.exit(130)
        message = None if error is None else _message(error)
        if message is not None:
            sys.exit(f"error: {message}")


exit_on_user_error = _ExitOnUserError()
"""Ends the process with a user's mistake as its message, and without a traceback.

Use it as a decorator, ``@exit_on_user_error``, or as a context, ``with exit_on_user_error:``. The exit status is 1, and
130 after an interruption. Any other error passes with its traceback.
"""


def _message(error: BaseException) -> str | None:
    """What to tell the user, or None if the error is not the user's."""
    if isinstance(error, AlignSAMError):
        return str(error)
    from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException  # which --help does not wait for

    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key} is needed: give {error.full_key}=…."
    if isinstance(error, OmegaConfBaseException):  # a value of another type
        return first_line(error)
    return None
