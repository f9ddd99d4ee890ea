"""What the page says in words: beside the picture, and in a table for those who cannot see it."""

from __future__ import annotations

import base64
from pathlib import PurePath
from typing import NamedTuple

from jinja2 import Environment, PackageLoader

from alignsam_gym.demo.images import Picture
from alignsam_gym.demo.session import Answer, Session, iou, names

_templates = Environment(loader=PackageLoader("alignsam_gym.demo", ""), autoescape=True, trim_blocks=True)
_ALERT = _templates.from_string('<p role="alert" class="notice">{{ message }}</p>')
_STATUS = _templates.from_string('<p role="status">{{ sentence }}</p>')
_LINK = _templates.from_string(
    '<a class="download" download="{{ name }}" href="data:image/png;base64,{{ data }}">'
    "Download the mask (PNG, {{ width }} × {{ height }}, 0 and 255)</a>"
)


class Row(NamedTuple):
    """A prompt in the table; what is not known yet, or never will be, is empty."""

    name: str
    x: int
    y: int
    positive: bool
    share: str = ""
    iou: str = ""
    reward: str = ""


def rows(session: Session, step: int, answer: Answer) -> list[Row]:
    """All prompts so far: each with what SAM answered after it, of the initial pair and of one's own the last only."""
    found = []
    given = len(session.answers[step].labels)
    called = names(session, answer, step)
    first = len(session.answers[0].labels)
    for slot, (name, (x, y), label) in enumerate(zip(called, answer.points, answer.labels, strict=True)):
        row = Row(name, round(float(x)), round(float(y)), bool(label))
        if slot == len(called) - 1 and slot >= given:
            row = row._replace(share=_share(answer), iou=_figure(iou(session.picture, answer)))
        elif first - 1 <= slot < given:
            then = session.answers[slot - first + 1]
            row = row._replace(share=_share(then), iou=_figure(session.ious[slot - first + 1]), reward=_reward(then))
        found.append(row)
    return found


def table(session: Session, step: int, answer: Answer) -> str:
    """The rows as HTML."""
    told = {"rows": rows(session, step, answer), "measured": session.picture.truth is not None}
    return _templates.get_template("steps.html").render(told, step=step, steps=session.steps)


def summary(session: Session, step: int, answer: Answer) -> str:
    """One or two sentences on what the picture shows; they are its alternative text, too."""
    positive = int(answer.labels.sum())
    own = len(answer.labels) - len(session.answers[step].labels)
    parts = [f"t = {step} of {session.steps}"]
    if own:
        parts.append(f"{own} {'point' if own == 1 else 'points'} of yours")
    parts.append(f"{positive} positive and {len(answer.labels) - positive} negative prompts in all")
    parts.append(f"SAM's mask covers {_share(answer)} of the image")
    if (reached := iou(session.picture, answer)) is not None:
        parts.append(f"IoU with the ground truth {_figure(reached)}")
    return "; ".join(parts) + "."


def notice(message: str) -> str:
    """A message that is read out at once, as HTML."""
    return _ALERT.render(message=message)


def status(sentence: str) -> str:
    """A sentence that is read out when there is time, as HTML."""
    return _STATUS.render(sentence=sentence)


def download(picture: Picture, file: bytes) -> str:
    """A link that saves a PNG file, which lies in the link itself, as HTML."""
    name = f"{PurePath(picture.name).stem}-mask.png"
    return _LINK.render(name=name, data=base64.b64encode(file).decode(), height=picture.size[0], width=picture.size[1])


def _share(answer: Answer) -> str:
    return f"{(answer.logits > 0).float().mean().item():.1%}"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _reward(answer: Answer) -> str:
    return "" if answer.hit is None else "+1" if answer.hit else "−1"
