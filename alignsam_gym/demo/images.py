"""Pictures to segment, uploaded or drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from alignsam_gym.data import drawn_scenes
from alignsam_gym.data.image_files import read_image, read_luminance, stated_size
from alignsam_gym.data.shapes_dataset import TEXTS
from alignsam_gym.errors import DataError
from alignsam_gym.metrics.mask_scores import THRESHOLD

MOST_BYTES, MOST_PIXELS = 20 * 1024**2, 25_000_000
"""Of an uploaded file, and of the picture in it."""

T = TypeVar("T")


@dataclass(frozen=True, eq=False)  # Gradio hashes what it keeps, which arrays do not allow
class Picture:
    """image: uint8 (H, W, 3) RGB. truth: bool (H, W), or None. text: what the target is called, or None."""

    name: str
    image: np.ndarray
    truth: np.ndarray | None = None
    text: str | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.image.shape[0], self.image.shape[1]


EXAMPLES = {
    "An odd one out": ("saliency", 0),
    "A shadow": ("shadow", 8),
    "A mirror": ("mirror", 6),
    "Out of focus": ("defocus", 10),
    "A ring among shapes": ("named", 0),
}
"""What drawn scenes are called on the page: tasks of `shapes`, and scenes of their test splits."""


def example(name: str) -> Picture:
    task, index = EXAMPLES[name]
    scene = drawn_scenes.draw(task, "test", index)
    target, truth = next(iter(scene.masks.items()))
    return Picture(name, scene.image, truth, TEXTS.get(target, target))


def uploaded(file: Path) -> Picture:
    """An uploaded image. Raises DataError if it is none, or too large."""
    return Picture(file.name, _read(file, read_image))


def with_truth(picture: Picture, file: Path) -> Picture:
    """`picture` with an uploaded mask as its ground truth. Raises DataError if it does not fit."""
    mask = _read(file, read_luminance) > THRESHOLD
    if mask.shape != picture.size:
        sizes = [f"{width} × {height}" for height, width in (mask.shape, picture.size)]
        raise DataError(f"The mask has {sizes[0]} pixels and the image {sizes[1]}; upload one of the image's size.")
    return replace(picture, truth=mask)


def png(mask: np.ndarray) -> bytes:
    """A mask, bool (H, W), as a PNG file of 0 and 255."""
    return cv2.imencode(".png", mask.astype(np.uint8) * 255)[1].tobytes()


def _read(file: Path, read: Callable[[Path], T]) -> T:
    """What `read` makes of an uploaded file, whose place here is nobody's business. Raises DataError."""
    try:
        if file.stat().st_size > MOST_BYTES:
            raise DataError(f"{file} has more than {MOST_BYTES // 1024**2} MB; make it smaller.")
        width, height = stated_size(file)
        if width * height > MOST_PIXELS:
            most = f"{MOST_PIXELS // 10**6} million"
            raise DataError(f"{file} has {width} × {height} pixels, more than {most}; make it smaller.")
        return read(file)
    except DataError as error:
        raise DataError(str(error).replace(str(file), file.name)) from None
