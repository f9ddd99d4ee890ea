"""The environment's page, from the docstrings of its two classes and the defaults of its keywords."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import griffe

_ROOT = Path(__file__).parents[2]
_MARK = "<!-- environment -->"
_ITEM = re.compile(r"^- ``(\w+)``: (.+(?:\n  .+)*)", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the page where a Markdown file has ``<!-- environment -->``."""
    return markdown.replace(_MARK, environment()) if _MARK in markdown else markdown


def environment() -> str:
    """Markdown, with headings of the second level."""
    package: Any = griffe.load("alignsam_gym.envs", search_paths=[_ROOT])
    single, vector = package["alignsam_env.AlignSAMEnv"], package["alignsam_vector_env.AlignSAMVectorEnv"]
    before, page = single.docstring.value.split("\n## Arguments\n")
    arguments, page = page.split("\n\n", 1)
    notes, history = page.split("\n## Version history\n")
    parameters = [*package["episode_factory.make_episode"].parameters, *single["__init__"].parameters]
    defaults = {parameter.name: parameter.default for parameter in parameters}
    rows = [f"| `{name}` | `{defaults[name]}` | {' '.join(text.split())} |" for name, text in _ITEM.findall(arguments)]
    parts = {
        "Arguments": "\n".join(["| keyword | default | what it is |", "| --- | --- | --- |", *rows, "", notes]),
        "Vector form": vector.docstring.value,
        "Version history": history,
    }
    return "\n".join([before, *(f"\n## {title}\n\n{text}" for title, text in parts.items())])
