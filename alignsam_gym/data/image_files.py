"""Image and mask files of a data set, read as arrays.

`read_image` reads an image; `read_luminance` a mask of dark and bright pixels; `read_indices` a mask of class indices.
`alignsam_gym.data.mask_files` writes masks, and reads back what was written.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from alignsam_gym.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
"""Suffixes, in lower case, of the files that count as images."""

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF")
"""Pillow's names of the formats that a file may have, whatever its suffix says: published data sets get some wrong.

No others, since Pillow goes by the content: an upload with EPS in it would start Ghostscript. JPEG includes MPO.
"""

_EXIF_ORIENTATION, _QUARTER_TURNS = 0x0112, (5, 6, 7, 8)
_BROKEN = (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError)


def read_image(file: Path) -> np.ndarray:
    """Read an image file, turned as its EXIF orientation says.

    Grey, palette and CMYK images are converted. Of 16 bits for each channel, the upper 8 are kept.

    Args:
        file: A file in one of `FORMATS`.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        DataError: If the file cannot be read.
    """
    return np.asarray(_open(file).convert("RGB"))


def rgb_of(picture: Image.Image) -> np.ndarray:
    """Convert a Pillow image to what `read_image` returns for its file.

    Args:
        picture: An image of any mode.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        DataError: If the image cannot be decoded.
    """
    try:
        return np.asarray(_in_8_bits(ImageOps.exif_transpose(picture)).convert("RGB"))
    except _BROKEN as error:  # Pillow decodes when it is first asked for pixels
        raise DataError(f"The image cannot be decoded: {error}.") from error


def read_luminance(file: Path) -> np.ndarray:
    """Read the luminance of a mask file, turned as its EXIF orientation says.

    If the file has transparency and one colour everywhere, its alpha channel is read instead.

    Args:
        file: A file in one of `FORMATS`.

    Returns:
        uint8 (H, W).

    Raises:
        DataError: If the file cannot be read.
    """
    picture = _open(file)
    grey = np.asarray(picture.convert("RGB").convert("L"))
    if "A" in picture.getbands() and grey.min() == grey.max():
        return np.asarray(picture.getchannel("A"))
    return grey


def read_indices(file: Path) -> np.ndarray:
    """Read the palette indices of a mask file, or its grey levels, as they are stored.

    Args:
        file: A file in one of `FORMATS`.

    Returns:
        uint8 (H, W).

    Raises:
        DataError: If the file cannot be read, or holds colours.
    """
    picture = _open(file)
    if picture.mode not in ("P", "L"):
        raise DataError(f"{file} holds colours ({picture.mode}), not class indices; use the published palette PNG.")
    return np.asarray(picture)


def stated_size(file: Path) -> tuple[int, int]:
    """Read an image's size from the header of its file, without decoding pixels.

    Args:
        file: A file in one of `FORMATS`.

    Returns:
        Width and height, after the turn that the EXIF orientation asks for.

    Raises:
        DataError: If the header cannot be read.
    """
    try:
        with Image.open(file, formats=FORMATS) as picture:
            width, height = picture.size
            # The base class's getexif: a PNG's own decodes the picture first.
            is_turned = Image.Image.getexif(picture).get(_EXIF_ORIENTATION) in _QUARTER_TURNS
            return (height, width) if is_turned else (width, height)
    except _BROKEN as error:
        raise _unreadable(file, error) from error


def _open(file: Path) -> Image.Image:
    try:
        with Image.open(file, formats=FORMATS) as picture:
            return _in_8_bits(ImageOps.exif_transpose(picture))
    except _BROKEN as error:
        raise _unreadable(file, error) from error


def _in_8_bits(picture: Image.Image) -> Image.Image:
    """Keep the upper 8 of 16 bits; Pillow would clip 16-bit grey at 255."""
    if picture.mode.startswith("I"):
        return Image.fromarray((np.asarray(picture) >> 8).clip(0, 255).astype(np.uint8))
    return picture


def _unreadable(file: Path, error: BaseException) -> DataError:
    empty = file.is_file() and not file.stat().st_size
    reason = "it is empty, 0 bytes" if empty else str(error)
    return DataError(f"{file} cannot be read as an image ({reason}); replace or remove it.")
