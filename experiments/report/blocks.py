"""The Markdown that our tables are written in, as parts of a page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import Markup, escape


@dataclass(frozen=True)
class Block:
    """kind: heading, text, list or table. lines: what it says; of a table, its cells, the header first.

    caption: of a table, the text before it, which is then no block of its own.
    """

    kind: str
    lines: list
    caption: str = ""


def blocks(markdown: str) -> list[Block]:
    """Headings (``##``), paragraphs, lists (``-``) and tables, in order."""
    found: list[Block] = []
    for block in map(_block, _parts(markdown)):
        if block.kind == "table" and found and found[-1].kind == "text":
            block = Block("table", block.lines, " ".join(found.pop().lines))
        found.append(block)
    return found


def inline(text: str) -> Markup:
    """``**bold**`` and all else as it stands."""
    return Markup(re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", str(escape(text))))


def _parts(markdown: str) -> Iterator[list[str]]:
    for part in re.split(r"\n\s*\n", markdown.strip()):
        yield part.splitlines()


def _block(lines: list[str]) -> Block:
    if lines[0].startswith("|"):
        rows = [[cell.strip() for cell in line.strip()[1:-1].split("|")] for line in lines]
        return Block("table", [rows[0], *rows[2:]])
    if lines[0].startswith("#"):
        return Block("heading", [lines[0].lstrip("# ")])
    if lines[0].startswith("- "):
        return Block("list", [line.removeprefix("- ") for line in lines])
    return Block("text", lines)
