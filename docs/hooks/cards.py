"""The cards of the embedded models, on the page about them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_MARK = "<!-- cards -->"
_FOLDER = Path(__file__).parents[2] / "alignsam_gym" / "foundation" / "tiny"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the mark ``<!-- cards -->`` by the cards, their headings one level lower."""
    if _MARK not in markdown:
        return markdown
    cards = "\n".join((_FOLDER / name).read_text(encoding="utf-8") for name in ("MODEL_CARD.md", "CLIP_CARD.md"))
    return markdown.replace(_MARK, re.sub(r"(?m)^#", "##", cards))
