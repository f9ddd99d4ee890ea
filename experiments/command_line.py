"""How a command ends when its user made a mistake or interrupted it."""

from __future__ import annotations

import re
import sys
from contextlib import ContextDecorator
from types import TracebackType

from alignsam_gym.errors import AlignSAMError, did_you_mean, first_line

_WRONG_ADVICE = re.compile(r"\.?\s*To append to your config use \+(?!agent\.)\S+")
"""Hydra's. Nothing but Stable-Baselines3, of group ``agent``, reads a key that conf/ does not have."""


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
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename} cannot be read or written ({error.strerror})."
    from hydra.errors import CompactHydraException, MissingConfigException  # which --help does not wait for
    from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key} is needed: give {error.full_key}=…."
    if isinstance(error, OmegaConfBaseException):  # a value of another type
        return first_line(error)
    if isinstance(error, MissingConfigException) and error.options:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        hint = did_you_mean(choice, error.options)
        return f"{group}={choice} is unknown; choose one of {', '.join(error.options)}.{hint}"
    if isinstance(error, CompactHydraException):
        reasons = [_WRONG_ADVICE.sub("", str(error).removeprefix("Error merging override "))]
        reasons += [first_line(error.__cause__)] if isinstance(error.__cause__, OmegaConfBaseException) else []
        return " ".join(": ".join(reasons).split())
    return None
