"""Docstrings as this project writes them, for mkdocstrings: lines ``name: what it is`` become a list."""

from __future__ import annotations

import re
from typing import Any

import griffe

_LINE = re.compile(r"^(\w+(?:, \w+)*): ")
_NEXT = re.compile(r"(?<=\S\. )(\w+(?:, \w+)*): ")


class Parameters(griffe.Extension):
    """Rewrites the docstring of whatever griffe has loaded."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = listed(obj.docstring.value, _names(obj))


def listed(text: str, names: set[str]) -> str:
    """`text` with a list item for each line, or sentence, that begins with some of `names` and a colon."""
    lines: list[str] = []
    for line in text.splitlines():
        parts = _NEXT.sub(lambda match: f"\n{match[0]}" if _known(match[1], names) else match[0], line).split("\n")
        for part in parts:
            match = _LINE.match(part)
            if not (match and _known(match[1], names)):
                if lines and lines[-1].startswith(("- ", " ")) and part.startswith(("Raises ", "Returns ")):
                    lines.append("")
                lines.append(part)
                continue
            if lines and not lines[-1].startswith(("- ", " ")):
                lines.append("")
            lines.append(f"- **{match[1]}**: {part[match.end() :]}")
    return "\n".join(lines)


def _known(found: str, names: set[str]) -> bool:
    return set(found.split(", ")) <= names


def _names(obj: Any) -> set[str]:
    """What the docstring of `obj` may explain: parameters, its own or its constructor's, and attributes."""
    names = {"Input", "Output"}
    if obj.is_function:
        return names | {parameter.name for parameter in obj.parameters}
    if obj.is_class:
        names |= set(obj.members) | {parameter.name for parameter in obj.parameters}
    return names
