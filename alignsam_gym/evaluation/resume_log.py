"""What a long evaluation has done so far, on disk, so that an interruption loses one batch."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any


class ResumeLog:
    """A file of JSON lines: what the results depend on, then a record an image.

    signature: plain data. Records that a file of another signature holds are thrown away, as they would not be
    repeated now.
    """

    def __init__(self, path: Path, signature: Any) -> None:
        self.path = path
        head = json.dumps({"signature": hashlib.sha256(json.dumps(signature, sort_keys=True).encode()).hexdigest()})
        found = path.read_bytes() if path.exists() else b""
        if found.startswith(head.encode() + b"\n"):
            os.truncate(path, found.rfind(b"\n") + 1)  # a last line may have been cut short
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(head + "\n")

    def read(self) -> Iterator[dict[str, Any]]:
        """The records so far."""
        with self.path.open() as file:
            next(file)
            yield from map(json.loads, file)

    def append(self, records: Sequence[dict[str, Any]]) -> None:
        with self.path.open("a") as file:
            file.write("".join(json.dumps(record) + "\n" for record in records))

    def remove(self) -> None:
        """Everything is in the results now."""
        self.path.unlink()
