"""Images to segment: photographs of the package's own, drawn scenes, and uploads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import yaml

from alignsam_gym.data import drawn_scenes
from alignsam_gym.data.image_files import read_image, stated_size
from alignsam_gym.data.mask_rule import MaskRule
from alignsam_gym.data.shapes_dataset import TEXTS
from alignsam_gym.errors import DataError

MOST_BYTES, MOST_PIXELS = 20 * 1024**2, 25_000_000
"""Limits of an uploaded file, and of the image in it."""

T = TypeVar("T")


@dataclass(frozen=True, eq=False)  # Gradio hashes what it keeps, which arrays do not allow
class DemoImage:
    """An image on the page.

    Attributes:
        name: As the page calls it.
        pixels: uint8 (H, W, 3), RGB.
        truth: The ground truth, bool (H, W); None if there is none.
        text: What the target is called; None if it has no name.
    """

    name: str
    pixels: np.ndarray
    truth: np.ndarray | None = None
    text: str | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.pixels.shape[0], self.pixels.shape[1]


_PHOTOGRAPHS = Path(__file__).with_name("photographs")
_SOURCES = yaml.safe_load((_PHOTOGRAPHS / "sources.yaml").read_text("utf-8"))

PHOTOGRAPHS = {name: f"{name}: {about['source']}" for name, about in _SOURCES.items()}
"""The package's photographs by their names on the page, with who made each and its licence."""


def read_photograph(name: str) -> DemoImage:
    """Read the photograph of that name in `PHOTOGRAPHS`."""
    about = _SOURCES[name]
    return DemoImage(name, read_image(_PHOTOGRAPHS / about["file"]), text=about["text"])


EXAMPLES = {
    "An odd one out": ("saliency", 0),
    "A shadow": ("shadow", 8),
    "A mirror": ("mirror", 6),
    "Out of focus": ("defocus", 10),
    "A ring among shapes": ("named", 0),
}
"""Drawn scenes by their names on the page: tasks of `shapes`, and scenes of their test splits."""


def draw_example(name: str) -> DemoImage:
    """Draw the scene of that name in `EXAMPLES`."""
    task, index = EXAMPLES[name]
    scene = drawn_scenes.draw_scene(task, "test", index)
    target, truth = next(iter(scene.masks.items()))
    return DemoImage(name, scene.image, truth, TEXTS.get(target, target))


def read_upload(file: Path) -> DemoImage:
    """Read an uploaded image.

    Raises:
        DataError: The file is no image, or too large.
    """
    return DemoImage(file.name, _read(file, read_image))


def with_truth(image: DemoImage, file: Path) -> DemoImage:
    """Give an image an uploaded mask as its ground truth, read as `MaskRule` does.

    Raises:
        DataError: The file is no image, too large, not of the image's size, or does not say what is foreground.
    """
    mask = _read(file, MaskRule(prefix=None).read)
    if mask.shape != image.size:
        sizes = [f"{width} × {height}" for height, width in (mask.shape, image.size)]
        raise DataError(f"The mask has {sizes[0]} pixels and the image {sizes[1]}; upload one of the image's size.")
    return replace(image, truth=mask)


def png(mask: np.ndarray) -> bytes:
    """Encode a mask, bool (H, W), as a PNG file of 0 and 255."""
    _, content = cv2.imencode(".png", mask.astype(np.uint8) * 255)
    return bytes(content.tobytes())


def _read(file: Path, read: Callable[[Path], T]) -> T:
    """Read an uploaded file by `read`. Raises DataError, which names the file without its folder."""
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
