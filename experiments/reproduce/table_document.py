"""One reproduced table of the paper as it is written to files: Markdown and CSV for people, JSON for the report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from alignsam_gym.atomic_write import write_atomically
from alignsam_gym.errors import DataError
from alignsam_gym.result_table import ResultTable


@dataclass(frozen=True)
class TableDocument:
    """A heading with tables below it.

    Attributes:
        title: The heading.
        main: The paper's table, ours beside it.
        failures: Why cells could not be measured, a line for each.
        further: Tables about the same cells.
    """

    title: str
    main: ResultTable
    failures: Sequence[str] = ()
    further: Sequence[ResultTable] = ()

    def to_markdown(self) -> str:
        """Write the heading, the tables, and a list of failures where there are any."""
        parts = [f"## {self.title}", self.main.to_markdown()]
        if self.failures:
            parts += ["Failed:", "\n".join(f"- {failure}" for failure in self.failures)]
        parts += [table.to_markdown() for table in self.further]
        return "\n\n".join(parts) + "\n"

    def write(self, folder: Path, name: str) -> None:
        """Write ``<name>.md`` and ``<name>.json``."""
        record = {
            "title": self.title,
            "main": self.main.to_json(),
            "failures": list(self.failures),
            "further": [table.to_json() for table in self.further],
        }
        write_atomically(folder / f"{name}.md", self.to_markdown().encode())
        write_atomically(folder / f"{name}.json", json.dumps(record, indent=1).encode())

    @classmethod
    def read(cls, file: Path) -> TableDocument:
        """Read the JSON that `write` wrote.

        Raises:
            DataError: If the file is torn, or holds something else.
        """
        try:
            record = json.loads(file.read_text())
            further = [ResultTable.from_json(table) for table in record["further"]]
            return cls(record["title"], ResultTable.from_json(record["main"]), record["failures"], further)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{file} cannot be read ({error}); delete it, and reproduce that table again.") from error
