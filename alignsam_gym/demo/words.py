"""What the page says in words: beside the image, and in a table for those who cannot see it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import PurePath
from typing import NamedTuple

from jinja2 import Environment, PackageLoader

from alignsam_gym.demo.drawing import CLIP_MAP, LAYER_COLOURS, SRM_MAP, TRUTH, layers_of
from alignsam_gym.demo.images import DemoImage
from alignsam_gym.demo.visit import Measured, Visit, measure
from alignsam_gym.envs.prompting_session import Prediction

_templates = Environment(loader=PackageLoader("alignsam_gym.demo", ""), autoescape=True, trim_blocks=True)
_ALERT = _templates.from_string('<p role="alert" class="notice">{{ message }}</p>')
_STATUS = _templates.from_string('<p role="status">{{ sentence }}</p>')
_LINK = _templates.from_string(
    '<a class="download" download="{{ name }}" href="data:image/png;base64,{{ data }}">'
    "Download the mask (PNG, {{ width }} × {{ height }}, 0 and 255)</a>"
)


class Row(NamedTuple):
    """A prompt in the table; what is not known yet, or never will be, is empty.

    Attributes:
        name: As it is drawn.
        x: In pixels of the image.
        y: The same.
        positive: Its label.
        share: How much of the image the mask covers after it.
        iou: Of that mask.
        reward: Of its step.
    """

    name: str
    x: int
    y: int
    positive: bool
    share: str = ""
    iou: str = ""
    reward: str = ""


def rows(visit: Visit, step: int, prediction: Prediction) -> list[Row]:
    """Make a row for each prompt, with the answer after it. Of the user's points only the last has an answer.

    Args:
        visit: The image and its session.
        step: How many steps are regarded.
        prediction: After these, and all of the visitor's own points.
    """
    names = visit.names(prediction, step)
    own = len(visit.session.user_points())
    last_of_pair = len(names) - own - step - 1
    found = []
    for slot, (name, (x, y), label) in enumerate(zip(names, prediction.points, prediction.labels, strict=True)):
        measured = None
        if last_of_pair <= slot <= last_of_pair + step:
            measured = visit.measured[slot - last_of_pair]
        elif slot == len(names) - 1:
            measured = measure(visit.image, prediction)
        answer = ("", "", "") if measured is None else _in_words(measured)
        found.append(Row(name, round(float(x)), round(float(y)), bool(label), *answer))
    return found


def table(visit: Visit, step: int, prediction: Prediction, number: int = 1) -> str:
    """Write the rows as HTML; see `rows`. `number` tells the tables on a page apart."""
    template = _templates.get_template("steps.html")
    return template.render(
        number=number,
        pointer=visit.pointer,
        rows=rows(visit, step, prediction),
        measured=visit.image.truth is not None,
        step=step,
        steps=visit.session.steps,
    )


def summary(visit: Visit, step: int, prediction: Prediction) -> str:
    """Say in one or two sentences what the page shows; they are its alternative text, too. See `rows`."""
    positive = int(prediction.labels.sum())
    own = len(visit.session.user_points())
    share, iou, _ = _in_words(measure(visit.image, prediction))
    parts = [f"{visit.pointer}: t = {step} of {visit.session.steps}"]
    if own:
        parts.append(f"{own} {'point' if own == 1 else 'points'} of yours")
    parts.append(f"{positive} positive and {len(prediction.labels) - positive} negative prompts in all")
    parts.append(f"the mask covers {share} of the image")
    if iou:
        parts.append(f"IoU with the ground truth {iou}")
    return "; ".join(parts) + "."


def legend(layers: Sequence[str], image: DemoImage, visits: Sequence[Visit]) -> str:
    """Write what the layers that are switched on look like, and which of them there are not, as HTML.

    Args:
        layers: Switched on.
        image: That is shown.
        visits: Its prompts; none before it is prompted.
    """
    described = []
    for layer, colour in LAYER_COLOURS.items():
        if layer not in layers or not (visits or layer == TRUTH):
            continue
        lacking = [visit for visit in visits if layer not in layers_of(image, visit.session.maps())]
        absent = ""
        if len(lacking) == len(visits) and (visits or image.truth is None):
            absent = "there is none"
        elif lacking:
            absent = f"{lacking[0].pointer} has none"
        shown = "#{:02x}{:02x}{:02x}".format(*colour)
        described.append({"name": layer, "colour": shown, "is_map": layer in (SRM_MAP, CLIP_MAP), "absent": absent})
    return _templates.get_template("legend.html").render(layers=described, prompts=bool(visits))


def notice(message: str) -> str:
    """Write a message that is read out at once, as HTML."""
    return _ALERT.render(message=message)


def status(sentence: str) -> str:
    """Write a sentence that is read out when there is time, as HTML."""
    return _STATUS.render(sentence=sentence)


def download_link(image: DemoImage, file: bytes) -> str:
    """Write a link that saves an image's mask, a PNG file that lies in the link itself, as HTML."""
    height, width = image.size
    name = f"{PurePath(image.name).stem}-mask.png"
    return _LINK.render(name=name, data=base64.b64encode(file).decode(), height=height, width=width)


def _in_words(measured: Measured) -> tuple[str, str, str]:
    """The share of the image, the IoU and the reward."""
    iou = "" if measured.iou is None else f"{measured.iou:.3f}"
    reward = {None: "", True: "+1", False: "−1"}[measured.hit]
    return f"{measured.covered:.1%}", iou, reward
