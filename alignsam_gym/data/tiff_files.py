"""TIFF files that Pillow does not open: double precision is read, and of many bands it is said what to do."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, TiffImagePlugin

from alignsam_gym.errors import DataError

_WIDTH, _HEIGHT, _BITS, _BANDS, _KIND = 256, 257, 258, 277, 339
_FRACTIONS = 3
_BIG = b"\x2b"  # the third byte of BigTIFF, whose header is longer


def open_unknown_tiff(file: Path, most_pixels: int) -> Image.Image | None:
    """Open a TIFF file that Pillow does not know, if it holds grey levels in double precision.

    Args:
        file: Any file.
        most_pixels: The largest number of pixels that is decoded.

    Returns:
        The levels in single precision, mode F, turned as the file's EXIF orientation says; None if the file is no TIFF,
        or holds something else in one band.

    Raises:
        DataError: It has several bands, or several pages of double precision.
    """
    tags = _tags_of(file)
    if tags is None:
        return None
    bands, bits = int(tags.get(_BANDS, 1)), tags.get(_BITS, (1,))[0]
    is_fraction = tags.get(_KIND, (1,))[0] == _FRACTIONS
    if bands > 1:
        kind = "fractions" if is_fraction else "whole numbers"
        raise DataError(
            f"{file} has {bands} bands of {bits}-bit {kind}, in a form that cannot be read: save it as RGB or grey of "
            "8 or 16 bits, or one band as float32."
        )
    if not is_fraction or bits != 64 or int(tags[_WIDTH]) * int(tags[_HEIGHT]) > most_pixels:
        return None
    if tags.next:
        raise DataError(f"{file} has several pages of 64-bit fractions: save each as a file of its own, as float32.")
    levels = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_UNCHANGED)  # which turns TIFF whatever the flags say
    return None if levels is None else Image.fromarray(levels.astype(np.float32))


def _tags_of(file: Path) -> TiffImagePlugin.ImageFileDirectory_v2 | None:
    """Read the tags of a TIFF file's first page; None if it is no TIFF file."""
    with file.open("rb") as content:
        start = content.read(16)
        try:
            tags = TiffImagePlugin.ImageFileDirectory_v2(start if start[2:3] == _BIG else start[:8])
            content.seek(tags.next)
            tags.load(content)
        except (SyntaxError, ValueError, KeyError, OSError, struct.error):
            return None
    return tags if _WIDTH in tags and _HEIGHT in tags else None
