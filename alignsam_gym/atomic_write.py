"""Small files that several processes share."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4


def write_atomically(path: Path, content: bytes) -> None:
    """Write `path` so that a reader finds all of `content` or what was there before. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.parent / f"{uuid4().hex}.partial"  # tempfile's would be for this user's eyes only
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
