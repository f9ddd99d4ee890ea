"""How a command prints: neither its terminal's encoding nor a reader that has left ends it."""

from __future__ import annotations

import codecs
import sys
import unicodedata
from io import BufferedWriter, FileIO, TextIOWrapper
from typing import Any


def prepare_output() -> None:
    """Let what a command prints neither fail nor end it, whatever the terminal can show and whoever stops reading."""
    _outlive_readers()
    _print_in_any_encoding()


class _OutlivesReader(FileIO):
    """An open file that takes what is written after the reader of its pipe has left, and forgets it."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            return len(data)


def _outlive_readers() -> None:
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


def _print_in_any_encoding() -> None:
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
