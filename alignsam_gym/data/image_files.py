"""Image and mask files, read as arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from alignsam_gym.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF")
"""Pillow's names of what may be in a file, which published data sets do not always name rightly. No more, since Pillow
goes by the content: an upload that is EPS within would start Ghostscript. JPEG includes MPO."""

_EXIF_ORIENTATION, _QUARTER_TURNS = 0x0112, (5, 6, 7, 8)
_BROKEN = (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError)


def read_image(file: Path) -> np.ndarray:
    """An image file as uint8 (H, W, 3), RGB, turned as its EXIF orientation says. Raises DataError.

    Grey, palette and CMYK images are converted; of 16 bits a channel, the upper 8 are kept.
    """
    return np.asarray(_open(file).convert("RGB"))


def rgb_of(picture: Image.Image) -> np.ndarray:
    """A Pillow image as `read_image` would give its file. Raises DataError for one that cannot be decoded."""
    try:
        return np.asarray(_in_8_bits(ImageOps.exif_transpose(picture)).convert("RGB"))
    except _BROKEN as error:  # Pillow decodes when it is first asked for pixels
        raise DataError(f"The image cannot be decoded: {error}.") from error


def read_luminance(file: Path) -> np.ndarray:
    """A mask file's luminance, uint8 (H, W). Raises DataError.

    A picture with transparency whose colours say nothing, being all alike, is read from its alpha channel.
    """
    picture = _open(file)
    grey = np.asarray(picture.convert("RGB").convert("L"))
    if "A" in picture.getbands() and grey.min() == grey.max():
        return np.asarray(picture.getchannel("A"))
    return grey


def read_indices(file: Path) -> np.ndarray:
    """A mask file's palette indices or grey levels, as they are stored: uint8 (H, W). Raises DataError."""
    picture = _open(file)
    if picture.mode not in ("P", "L"):
        raise DataError(f"{file} holds colours ({picture.mode}), not class indices; use the published palette PNG.")
    return np.asarray(picture)


def stated_size(file: Path) -> tuple[int, int]:
    """Width and height by the file's header, its orientation applied, without decoding pixels. Raises DataError."""
    try:
        with Image.open(file, formats=FORMATS) as picture:
            # The base class's getexif: a PNG's own decodes the picture first.
            turned = Image.Image.getexif(picture).get(_EXIF_ORIENTATION) in _QUARTER_TURNS
            return picture.size[::-1] if turned else picture.size
    except _BROKEN as error:
        raise _unreadable(file, error) from error


def _open(file: Path) -> Image.Image:
    try:
        with Image.open(file, formats=FORMATS) as picture:
            return _in_8_bits(ImageOps.exif_transpose(picture))
    except _BROKEN as error:
        raise _unreadable(file, error) from error


def _in_8_bits(picture: Image.Image) -> Image.Image:
    """Pillow would clip 16-bit grey at 255."""
    if picture.mode.startswith("I"):
        return Image.fromarray((np.asarray(picture) >> 8).clip(0, 255).astype(np.uint8))
    return picture


def _unreadable(file: Path, error: BaseException) -> DataError:
    empty = file.is_file() and not file.stat().st_size
    reason = "it is empty, 0 bytes" if empty else str(error)
    return DataError(f"{file} cannot be read as an image ({reason}); replace or remove it.")
