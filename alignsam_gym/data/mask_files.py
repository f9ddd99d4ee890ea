"""Masks as files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from alignsam_gym.atomic_write import write_atomically
from alignsam_gym.data.image_files import FORMATS
from alignsam_gym.errors import DataError


def write_mask(folder: Path, name: str, mask: np.ndarray) -> None:
    """A mask, bool (H, W), as ``<folder>/<name>.png``, 0 or 255."""
    write_picture(folder, name, mask.astype(np.uint8) * 255)


def write_picture(folder: Path, name: str, picture: np.ndarray) -> None:
    """uint8 (H, W), or (H, W, 3) RGB, as ``<folder>/<name>.png``. Raises DataError if it cannot be written."""
    file = folder / f"{name}.png"
    _, png = cv2.imencode(".png", picture if picture.ndim == 2 else picture[..., ::-1])
    write_file(file, png.tobytes())


def write_file(file: Path, content: bytes) -> None:
    """Write a file whole or not at all. Raises DataError if it cannot be written."""
    try:
        write_atomically(file, content)
    except OSError as error:
        raise DataError(
            f"{file} cannot be written ({error.strerror}); is the disk full, or the folder read-only?"
        ) from error


def read_levels(file: Path) -> np.ndarray:
    """The grey levels of an 8-bit picture, uint8 (H, W). Raises DataError if it is unreadable, coloured or deeper."""
    try:
        with Image.open(file, formats=FORMATS) as picture:
            if picture.mode in ("1", "L"):
                return np.asarray(picture.convert("L"))
            deep = picture.mode not in ("P", "LA", "RGB", "RGBA")
            colours = np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{file} cannot be read as an image ({error}); replace or remove it.") from error
    if deep or (colours != colours[..., :1]).any():
        raise DataError(f"{file} is no mask: it must hold grey levels of 8 bits, 255 where the answer is certain.")
    return colours[..., 0]
