"""Masks and pictures that commands write."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from alignsam_gym.atomic_write import write_atomically
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
