"""Masks and pictures that commands write, and masks that are read back to be scored."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from alignsam_gym.atomic_write import write_atomically
from alignsam_gym.data.image_files import FORMATS
from alignsam_gym.errors import DataError


def write_mask(folder: Path, name: str, mask: np.ndarray) -> None:
    """Write a mask as the 8-bit grey image ``<folder>/<name>.png``: 255 in the foreground, 0 elsewhere.

    Args:
        folder: Where to write. Missing folders are made.
        name: The file's name without suffix, which may have folders in it.
        mask: bool (H, W).

    Raises:
        DataError: If the file cannot be written.
    """
    write_picture(folder, name, mask.astype(np.uint8) * 255)


def write_picture(folder: Path, name: str, picture: np.ndarray) -> None:
    """Write an image as ``<folder>/<name>.png``.

    Args:
        folder: Where to write. Missing folders are made.
        name: The file's name without suffix, which may have folders in it.
        picture: uint8, (H, W) grey or (H, W, 3) RGB.

    Raises:
        DataError: If the file cannot be written.
    """
    _, png = cv2.imencode(".png", picture if picture.ndim == 2 else picture[..., ::-1])
    write_file(folder / f"{name}.png", png.tobytes())


def write_file(file: Path, content: bytes) -> None:
    """Write a file whole or not at all; raise `DataError` if it cannot be written."""
    try:
        write_atomically(file, content)
    except OSError as error:
        raise DataError(
            f"{file} cannot be written ({error.strerror}); is the disk full, or the folder read-only?"
        ) from error


def read_levels(file: Path) -> np.ndarray:
    """Read a predicted mask: the grey levels of an 8-bit image, exactly as they are stored.

    Args:
        file: A file in one of `FORMATS`. Its pixels may be packed as bits, grey, palette or colours, if all are grey.

    Returns:
        uint8 (H, W), 255 where the prediction is certain of foreground. Bits are read as 0 and 255.

    Raises:
        DataError: If the file cannot be read, is coloured, or has more than 8 bits for each channel.
    """
    try:
        with Image.open(file, formats=FORMATS) as picture:
            if picture.mode in ("1", "L"):
                return np.asarray(picture.convert("L"))
            is_deep = picture.mode not in ("P", "LA", "RGB", "RGBA")
            colours = np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{file} cannot be read as an image ({error}); replace or remove it.") from error
    if is_deep or (colours != colours[..., :1]).any():
        raise DataError(f"{file} is no mask: it must hold grey levels of 8 bits, 255 where the answer is certain.")
    return colours[..., 0]
