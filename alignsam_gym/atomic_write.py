"""Files that other processes may read or write at the same time."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader finds all of its new content or all of its old one.

    Args:
        path: The file. Missing folders are made.
        content: Its new content.

    Raises:
        OSError: If it cannot be written. What was there before stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.parent / f"{uuid4().hex}.partial"  # only this user could read one of `tempfile`
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError):  # a full disk is told without a name
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
