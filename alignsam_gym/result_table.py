"""One table of results, written as Markdown, CSV, HTML, JSON or for the terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:  # only a table that is printed needs rich
    from rich.table import Table
    from rich.text import Text

_MANY_COLUMNS = 10


@dataclass(frozen=True)
class Strong:
    """A cell that begins in bold.

    Attributes:
        text: The part in bold.
        rest: What follows it, not in bold.
    """

    text: str
    rest: str = ""


Cell: TypeAlias = str | int | float | Strong
"""What stands in a row. Numbers are written in full; give text where digits are to be cut."""


@dataclass(frozen=True)
class ResultTable:
    """A table of results with its caption.

    Attributes:
        columns: The title of each column.
        rows: The cells of each row, as many as there are columns. The first cell names the row.
        caption: What the table shows, in one line or more.
        quoted: Places of the rows whose numbers somebody else published; HTML tints them.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    quoted: Collection[int] = ()

    def to_markdown(self) -> str:
        """Write the caption, a blank line, and a pipe table; no newline at the end."""
        lines = [[_markdown(title) for title in self.columns], ["---"] * len(self.columns)]
        lines += [[_markdown(cell) for cell in row] for row in self.rows]
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        return f"{self.caption}\n\n{table}" if self.caption else table

    def to_csv(self) -> str:
        """Write a header and a line for each row, without the caption."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([_plain(cell) for cell in row] for row in self.rows)
        return text.getvalue()

    def to_html(self) -> str:
        """Write a ``<table>`` whose header cells have a scope and whose quoted rows have the class ``quoted``."""
        return "\n".join(self._html_lines())

    def to_rich(self) -> Table:
        """Return what a rich console prints."""
        from rich.markup import escape as escape_markup
        from rich.table import Table
        from rich.text import Text

        table = Table(title=escape_markup(self.caption) or None)
        for title in self.columns:
            table.add_column(Text(title))
        for row in self.rows:
            table.add_row(*(_rich(cell) for cell in row))
        return table

    def print(self) -> None:
        """Print the table in the terminal."""
        from rich.console import Console

        Console().print(self.to_rich())

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON, of which `from_json` makes the same table."""
        return {
            "caption": self.caption,
            "columns": list(self.columns),
            "rows": [[_json(cell) for cell in row] for row in self.rows],
            "quoted": sorted(self.quoted),
        }

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> ResultTable:
        """Make the table that `to_json` was called on.

        Raises:
            KeyError: If a part is missing.
            TypeError: If a part is of another type.
        """
        rows = [[Strong(**cell) if isinstance(cell, dict) else cell for cell in row] for row in record["rows"]]
        return cls(record["columns"], rows, record["caption"], record["quoted"])

    def _html_lines(self) -> Iterator[str]:
        kind = ' class="many"' if len(self.columns) > _MANY_COLUMNS else ""
        yield f"<table{kind}>"
        if self.caption:
            yield f"<caption>{escape(self.caption)}</caption>"
        titles = "".join(f'<th scope="col">{escape(title)}</th>' for title in self.columns)
        yield f"<thead><tr>{titles}</tr></thead>"
        yield "<tbody>"
        for place, row in enumerate(self.rows):
            name, *values = [_html(cell) for cell in row]
            kind = ' class="quoted"' if place in self.quoted else ""
            cells = "".join(f"<td>{value}</td>" for value in values)
            yield f'<tr{kind}><th scope="row">{name}</th>{cells}</tr>'
        yield "</tbody></table>"


def _plain(cell: Cell) -> str | int | float:
    return f"{cell.text}{cell.rest}" if isinstance(cell, Strong) else cell


def _markdown(cell: Cell) -> str:
    text = f"**{cell.text}**{cell.rest}" if isinstance(cell, Strong) else str(cell)
    return text.replace("|", r"\|")


def _html(cell: Cell) -> str:
    if isinstance(cell, Strong):
        return f"<strong>{escape(cell.text)}</strong>{escape(cell.rest)}"
    return escape(str(cell))


def _rich(cell: Cell) -> Text:
    from rich.text import Text

    if isinstance(cell, Strong):
        return Text.assemble((cell.text, "bold"), cell.rest)
    return Text(str(cell))


def _json(cell: Cell) -> str | int | float | dict[str, str]:
    return {"text": cell.text, "rest": cell.rest} if isinstance(cell, Strong) else cell
