"""The environment's page, from the docstrings of its two classes."""

from __future__ import annotations

import inspect
from typing import Any

from alignsam_gym.envs.alignsam_env import AlignSAMEnv
from alignsam_gym.envs.alignsam_vector_env import AlignSAMVectorEnv

_MARK = "<!-- environment -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the mark ``<!-- environment -->`` by the environment's page."""
    return markdown.replace(_MARK, environment()) if _MARK in markdown else markdown


def environment() -> str:
    """Return Markdown with headings of the second level; the table of options is part of the class docstring."""
    page, history = (inspect.getdoc(AlignSAMEnv) or "").split("\n## Version history\n")
    vector = inspect.getdoc(AlignSAMVectorEnv)
    return f"{page}\n## Vector form\n\n{vector}\n\n## Version history\n\n{history}"
