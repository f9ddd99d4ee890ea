"""How a command ends when its user made a mistake or interrupted it, and prints what its terminal cannot show."""

from __future__ import annotations

import codecs
import sys
import unicodedata
from contextlib import ContextDecorator
from io import TextIOWrapper
from types import TracebackType

from alignsam_gym.errors import AlignSAMError, did_you_mean, first_line


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
        reasons = [str(error).removeprefix("Error merging override ")]
        reasons += [first_line(error.__cause__)] if isinstance(error.__cause__, OmegaConfBaseException) else []
        return " ".join(": ".join(reasons).split())
    return None


_ASCII = {
    **dict.fromkeys("‐‑‒–—−─━", "-"),
    **dict.fromkeys("│┃", "|"),
    **dict.fromkeys("‘’", "'"),
    **dict.fromkeys("“”", '"'),
    **dict.fromkeys("·•⋅", "*"),
    **dict.fromkeys("█▉▊▋▌▍▎▏", "#"),
    **dict(zip("×↑↓≈⁄", "x^v~/", strict=True)),
    **{"±": "+/-", "→": "->", "←": "<-", "≤": "<=", "≥": ">=", "ß": "ss"},
}
"""What stands for characters that a terminal's encoding lacks."""


def print_in_any_encoding() -> None:
    """Let stdout and stderr replace the characters that their encoding lacks by readable ones.

    Otherwise one of them, in the table at its end, would end a command with a traceback after all its work.
    """
    codecs.register_error("readable", _readable)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # not where a caller collects what is printed
            stream.reconfigure(errors="readable")


def _readable(error: UnicodeError) -> tuple[str, int]:
    """Replace what could not be encoded: a handler for `codecs`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = unicodedata.normalize("NFKD", error.object[error.start : error.end])  # letters apart from their accents
    return "".join(map(_in_ascii, text)), error.end


def _in_ascii(character: str) -> str:
    if character.isascii() or character in _ASCII:
        return _ASCII.get(character, character)
    if unicodedata.combining(character):
        return ""
    name = unicodedata.name(character, "")
    return name.split()[-1].lower() if name.startswith("GREEK") else "?"
