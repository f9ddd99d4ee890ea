"""Images as the page shows them: with layers over them, and prompts drawn."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import cv2
import numpy as np

from alignsam_gym.data.stored_mask import resize_nearest
from alignsam_gym.demo.images import DemoImage
from alignsam_gym.envs.prompting_session import Prediction, PromptMaps
from alignsam_gym.envs.rendering import ANSWER_COLOUR, TRUTH_COLOUR, mark, overlay
from alignsam_gym.transforms import mask_from_logits, resize_image

SIDE = 640
"""The longer side of an image on the page, in its pixels."""

ANSWER, SRM_MAP, CLIP_MAP, TRUTH = "Answer", "SRM's map", "CLIP's map", "Ground truth"
LAYER_COLOURS = {ANSWER: ANSWER_COLOUR, SRM_MAP: (204, 121, 167), CLIP_MAP: (86, 180, 233), TRUTH: TRUTH_COLOUR}
"""RGB of each layer. The common forms of colour blindness tell them apart."""

_OPACITY = 0.8  # of a map where it is 1
_RADIUS = 16
_MARGIN = _RADIUS + 2  # at the edge, so that a mark and its outline are seen whole


def layers_of(image: DemoImage, maps: PromptMaps | None) -> list[str]:
    """Name the layers that there are of an image, in the order of `LAYER_COLOURS`.

    Args:
        image: To show.
        maps: Of its prompts; None before it is prompted.
    """
    there = {
        ANSWER: maps is not None,
        SRM_MAP: maps is not None and maps.srm is not None,
        CLIP_MAP: maps is not None and maps.clip is not None,
        TRUTH: image.truth is not None,
    }
    return [layer for layer, is_there in there.items() if is_there]


def draw_image(
    image: DemoImage,
    layers: Collection[str],
    prediction: Prediction | None = None,
    maps: PromptMaps | None = None,
    names: Sequence[str] = (),
) -> np.ndarray:
    """Draw an image as the page shows it.

    Args:
        image: To show.
        layers: What is laid over it. Layers that there are not (see `layers_of`) are left out. Over a map, answer and
            ground truth are outlined instead of tinted.
        prediction: Its answer and prompts.
        maps: What guided them.
        names: Of the prompts.

    Returns:
        uint8 (h, w, 3), RGB, its longer side `SIDE`.
    """
    height, width = (max(1, round(side * SIDE / max(image.size))) for side in image.size)
    drawn = resize_image(image.pixels, (height, width))
    lay: Callable[[np.ndarray, np.ndarray, tuple[int, int, int]], np.ndarray] = overlay
    for layer, values in ((SRM_MAP, maps.srm), (CLIP_MAP, maps.clip)) if maps else ():
        if layer in layers and values is not None:
            drawn = _tint(drawn, values, LAYER_COLOURS[layer])
            lay = _outline  # so that no map is hidden under a mask
    if TRUTH in layers and image.truth is not None:
        drawn = lay(drawn, resize_nearest(image.truth, (height, width)), TRUTH_COLOUR)
    if prediction:
        if ANSWER in layers:
            drawn = lay(drawn, mask_from_logits(prediction.logits, (height, width)), ANSWER_COLOUR)
        scale = np.array([width, height]) / image.size[::-1]
        for point, label, name in zip(prediction.points * scale, prediction.labels, names, strict=True):
            x, y = np.clip(point, _MARGIN, (width - _MARGIN, height - _MARGIN)).astype(int).tolist()
            mark(drawn, (x, y), bool(label), name, _RADIUS)
    return drawn


def click_to_image(image: DemoImage, click: Sequence[float]) -> tuple[float, float]:
    """Turn a click, (x, y) in pixels of what `draw_image` draws, into pixels of the image itself."""
    height, width = image.size
    scale = max(image.size) / SIDE
    x, y = click
    return min((x + 0.5) * scale, width), min((y + 0.5) * scale, height)


def _tint(picture: np.ndarray, probability: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Tint a picture (h, w, 3) the more, the higher a map (g, g) is, and draw a line around where it is above 0.5."""
    height, width = picture.shape[:2]
    fine = cv2.resize(probability, (width, height), interpolation=cv2.INTER_LINEAR)
    opacity = _OPACITY * fine[..., None]
    tinted = (picture * (1 - opacity) + np.array(colour) * opacity).astype(np.uint8)
    return _outline(tinted, fine > 0.5, colour, 2)


def _outline(picture: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int], thickness: int = 4) -> np.ndarray:
    """Outline a mask (h, w) on a copy of a picture (h, w, 3)."""
    outlined = picture.copy()
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(outlined, outlines, -1, colour, thickness, cv2.LINE_AA)
    return outlined
