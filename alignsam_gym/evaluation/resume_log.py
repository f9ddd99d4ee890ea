"""What a long evaluation has done so far, on disk, so that an interruption loses one batch."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any


class ResumeLog:
    """A file of JSON lines: the signature of what the results depend on, then a record for each image."""

    def __init__(self, path: Path, signature: Any) -> None:
        """Open the file, or begin it anew.

        Args:
            path: The file; its folder is made where there is none.
            signature: Plain data that the results depend on. A file of another signature is overwritten, as its
                records would not be repeated now.
        """
        self.path = path
        if self.belongs_to(path, signature):
            os.truncate(path, path.read_bytes().rfind(b"\n") + 1)  # a last line may have been cut short
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_head(signature))

    @staticmethod
    def belongs_to(path: Path, signature: Any) -> bool:
        """Tell whether there is a file of this signature."""
        return path.exists() and path.read_bytes().startswith(_head(signature))

    def read(self) -> Iterator[dict[str, Any]]:
        """Yield the records so far."""
        with self.path.open() as file:
            next(file)
            yield from map(json.loads, file)

    def append(self, records: Sequence[dict[str, Any]]) -> None:
        """Write further records at the end."""
        with self.path.open("a") as file:
            file.write("".join(json.dumps(record) + "\n" for record in records))

    def remove(self) -> None:
        """Delete the file, once everything is in the results."""
        self.path.unlink()


def _head(signature: Any) -> bytes:
    """Write the first line."""
    digest = hashlib.sha256(json.dumps(signature, sort_keys=True).encode()).hexdigest()
    return json.dumps({"signature": digest}).encode() + b"\n"
