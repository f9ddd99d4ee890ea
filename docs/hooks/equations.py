"""Equations without a script: ```` ```math ```` fences become MathML, which browsers draw themselves."""

from __future__ import annotations

from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig


def on_config(config: MkDocsConfig) -> None:
    """Add the fence to those that ``pymdownx.superfences`` knows."""
    fence = {"name": "math", "class": "math", "format": _mathml}
    config.mdx_configs.setdefault("pymdownx.superfences", {}).setdefault("custom_fences", []).append(fence)


def _mathml(source: str, *_: Any, **__: Any) -> str:
    return convert(source, display="block")
