"""Images as the page shows them: with a mask tinted, and prompts drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alignsam_gym.demo.images import DemoImage
from alignsam_gym.envs.prompting_session import Prediction
from alignsam_gym.envs.rendering import ANSWER_COLOUR, TRUTH_COLOUR, mark, overlay
from alignsam_gym.errors import OptionError
from alignsam_gym.transforms import mask_from_logits, resize_image, resize_mask

SIDE = 640
"""The longer side of an image on the page, in its pixels."""

ANSWERED, TRUE, ALONE = "Mask", "Ground truth", "Image alone"
VIEWS = (ANSWERED, TRUE, ALONE)

_RADIUS = 16
_MARGIN = _RADIUS + 2  # at the edge, so that a mark and its outline are seen whole


def draw_image(
    image: DemoImage, view: str, prediction: Prediction | None = None, names: Sequence[str] = ()
) -> np.ndarray:
    """Draw an image as the page shows it.

    Args:
        image: To show.
        view: What is tinted, one of `VIEWS`.
        prediction: Whose prompts are drawn.
        names: Of these prompts.

    Returns:
        uint8 (h, w, 3), RGB, its longer side `SIDE`.

    Raises:
        OptionError: Ground truth is to be shown, and there is none.
    """
    height, width = (max(1, round(side * SIDE / max(image.size))) for side in image.size)
    drawn = resize_image(image.pixels, (height, width))
    if view == ANSWERED and prediction:
        drawn = overlay(drawn, mask_from_logits(prediction.logits, (height, width)), ANSWER_COLOUR)
    elif view == TRUE:
        if image.truth is None:
            raise OptionError(f"There is no ground truth for {image.name}; upload its mask, or show something else.")
        drawn = overlay(drawn, resize_mask(image.truth, (height, width)), TRUTH_COLOUR)
    if prediction:
        scale = np.array([width, height]) / image.size[::-1]
        for point, label, name in zip(prediction.points * scale, prediction.labels, names, strict=True):
            x, y = np.clip(point, _MARGIN, (width - _MARGIN, height - _MARGIN)).astype(int).tolist()
            mark(drawn, (x, y), bool(label), name, _RADIUS)
    return drawn


def click_to_image(image: DemoImage, click: Sequence[float]) -> tuple[float, float]:
    """Turn a click, (x, y) in pixels of what `draw` draws, into pixels of the image itself."""
    height, width = image.size
    scale = max(image.size) / SIDE
    x, y = click
    return min((x + 0.5) * scale, width), min((y + 0.5) * scale, height)
