"""Pictures as the page shows them."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from alignsam_gym.demo.images import Picture
from alignsam_gym.demo.session import Answer
from alignsam_gym.envs.rendering import ANSWER, TRUTH, mark, overlay, upsample
from alignsam_gym.errors import OptionError
from alignsam_gym.foundation.encoding.encoded_dataset import resize

SIDE = 640
"""The longer side of a picture on the page, in its pixels."""

ANSWERED, TRUE, ALONE = "SAM's mask", "Ground truth", "Image alone"
VIEWS = (ANSWERED, TRUE, ALONE)

_RADIUS = 16
_MARGIN = _RADIUS + 2  # at the picture's edge, so that a mark and its outline are seen whole


def shown(picture: Picture, view: str, answer: Answer | None = None, names: Sequence[str] = ()) -> np.ndarray:
    """A picture as the page shows it, uint8 (h, w, 3), its longer side `SIDE`.

    view: of `VIEWS`, what is tinted. answer: of SAM, whose prompts are drawn, each with its name. Raises OptionError
    for ground truth that there is not.
    """
    height, width = (max(1, round(side * SIDE / max(picture.size))) for side in picture.size)
    image = resize(picture.image, (width, height))
    if view == ANSWERED and answer:
        image = overlay(image, upsample(answer.logits, (height, width)), ANSWER)
    elif view == TRUE:
        if picture.truth is None:
            raise OptionError(f"There is no ground truth for {picture.name}; upload its mask, or show something else.")
        truth = cv2.resize(picture.truth.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
        image = overlay(image, truth, TRUTH)
    if answer:
        scale = np.array([width, height]) / picture.size[::-1]
        for point, label, name in zip(answer.points * scale, answer.labels, names, strict=True):
            x, y = np.clip(point, _MARGIN, (width - _MARGIN, height - _MARGIN)).astype(int).tolist()
            mark(image, (x, y), bool(label), name, _RADIUS)
    return image


def on_picture(picture: Picture, at: Sequence[float]) -> tuple[float, float]:
    """The (x, y) in the picture's own pixels of a pixel of what `shown` draws."""
    scale = max(picture.size) / SIDE
    x, y = ((where + 0.5) * scale for where in at)
    return min(x, picture.size[1]), min(y, picture.size[0])
