"""The pages that are written for users, and the code in them."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
CARDS = sorted((ROOT / "alignsam_gym" / "foundation" / "tiny").glob("*.md"))
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), *CARDS]
MODULES = [
    *sorted((ROOT / "experiments").glob("*.py")),
    *sorted((ROOT / "experiments").glob("*/__main__.py")),
    *sorted((ROOT / "examples").glob("*.py")),
]

_FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return [textwrap.dedent(code) for _, name, code in _FENCE.findall(page.read_text("utf-8")) if name == language]


def commands() -> Iterator[tuple[str, str]]:
    """Yield the place and the line of every shell command, in pages and in the docstrings of commands."""
    for page in PAGES:
        for block in blocks(page, "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                if line.strip() and not line.lstrip().startswith("#"):
                    yield name_of(page), line
    for module in MODULES:
        docstring = ast.get_docstring(ast.parse(module.read_text("utf-8"))) or ""
        for line in docstring.splitlines():
            if line.strip().startswith(("alignsam ", "python ", "pip ")):
                yield name_of(module), line.strip()
