"""Image files, read as arrays. `mask_rule` reads masks, `mask_files` writes them."""

from __future__ import annotations

import logging
import math
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from alignsam_gym.data.tiff_files import open_unknown_tiff
from alignsam_gym.errors import DataError, OptionError

log = logging.getLogger(__name__)

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
"""Suffixes, in lower case, of the files that count as images."""

KINDS = "PNG, JPEG, BMP, WebP or TIFF"
"""The same in words, for messages."""

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF")
"""Pillow's names of the formats that a file may have, whatever its suffix says: published data sets get some wrong.

No others, since Pillow goes by the content: an upload with EPS in it would start Ghostscript. JPEG includes MPO.
"""

FULL_SIZE_PIXELS = 100_000_000
"""An image with more pixels is read at a reduced size that has no more, and so is its mask."""

MOST_PIXELS = 2**30
"""An image with more pixels is refused. Decoding takes up to 4 bytes a pixel, 8 for colours of 16 bits."""

IntensityRange = Literal["auto", "full"] | Sequence[float]
"""Which stored values become 0 and 255 where an image has more than 8 bits.

``full`` takes the range of the type: 0 to 65,535 for whole numbers, 0 to 1 for fractions. ``auto`` does so as well if
the image stays in that range and reaches beyond its middle, and otherwise takes its lowest and its highest value. Two
numbers are the values themselves: ``[0, 4095]`` for 12 bits.
"""

_EXIF_ORIENTATION, _QUARTER_TURNS = 0x0112, (5, 6, 7, 8)
_BROKEN = (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError)
_PILLOWS_LIMIT, _TELLING = threading.Lock(), threading.Lock()
_reported_messages: set[str] = set()


@dataclass(frozen=True)
class Header:
    """What a file says of its image before any pixel is decoded.

    Attributes:
        stored_size: Width and height of the rows that are stored.
        orientation: How to turn them, 1 to 8 (EXIF); None if the file does not say.
    """

    stored_size: tuple[int, int]
    orientation: int | None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height after the turn."""
        return turned_size(self.stored_size, self.orientation)


def read_header(file: Path, page: int | None = None) -> Header:
    """Read the header of an image file, or of a page of it.

    Raises:
        DataError: If it cannot be read, or the image has more than `MOST_PIXELS` pixels or several pages.
    """
    with open_picture(file, page) as picture:
        orientation = own_orientation(picture)
        turned_already = isinstance(picture, TiffImagePlugin.TiffImageFile)  # Pillow turns TIFF itself
        return Header(turned_size(picture.size, orientation if turned_already else None), orientation)


def stated_size(file: Path, page: int | None = None) -> tuple[int, int]:
    """Read an image's width and height, after the turn that its EXIF orientation asks for, from the file's header.

    Raises:
        DataError: As `read_header`.
    """
    return read_header(file, page).size


def count_pages(file: Path) -> int:
    """Count the pages of a TIFF stack or the frames of an animation; any other image has one.

    Raises:
        DataError: If the file cannot be read.
    """
    with open_picture(file, page=0) as picture:
        return _pages_of(picture)


def read_image(file: Path, intensity_range: IntensityRange = "auto", page: int | None = None) -> np.ndarray:
    """Read an image file, turned as its EXIF orientation says.

    Grey, palette and CMYK images are converted. An image of more than `FULL_SIZE_PIXELS` pixels is reduced.

    Args:
        file: A file in one of `FORMATS`.
        intensity_range: What to make of more than 8 bits (`IntensityRange`).
        page: Which page, from 0, of a file that has several.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        DataError: If the file cannot be read, has several pages and none is chosen, or more than `MOST_PIXELS` pixels.
    """
    with open_picture(file, page) as picture:
        size = reduced_size(picture.size)
        if size != picture.size:
            _tell_once(
                f"{file.parent}: images of more than {FULL_SIZE_PIXELS / 1e6:.0f} megapixels are read at a reduced "
                "size, and their masks with them."
            )
        if is_deep(picture):
            return turned(_in_8_bits(deep_values(picture, file, size), intensity_range, file), own_orientation(picture))
        picture.draft("RGB", size)  # lets a JPEG file be decoded at half its size, or less
        colours = picture if picture.mode == "RGB" else picture.convert("RGB")  # which would copy RGB, too
        if colours.size != size:
            colours = colours.resize(size, Image.Resampling.BOX)
        return turned(np.asarray(colours), own_orientation(picture))


def rgb_of(picture: Image.Image, intensity_range: IntensityRange = "auto") -> np.ndarray:
    """Convert a Pillow image to what `read_image` returns for its file.

    Args:
        picture: An image of any mode.
        intensity_range: What to make of more than 8 bits (`IntensityRange`).

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        DataError: If the image cannot be decoded.
    """
    try:
        if is_grey_and_deep(picture):
            pixels = _in_8_bits(np.asarray(picture), intensity_range, None)
        else:
            pixels = np.asarray(picture.convert("RGB"))
    except _BROKEN as error:  # Pillow decodes when it is first asked for pixels
        raise DataError(f"The image cannot be decoded: {error}.") from error
    return turned(pixels, own_orientation(picture))


def read_indices(file: Path) -> np.ndarray:
    """Read the palette indices of a mask file, or its grey levels, as they are stored.

    Args:
        file: A file in one of `FORMATS`.

    Returns:
        uint8 (H, W).

    Raises:
        DataError: If the file cannot be read, or holds colours.
    """
    with open_picture(file) as picture:
        if picture.mode not in ("P", "L"):
            raise DataError(f"{file} holds colours ({picture.mode}), not class indices; use the published palette PNG.")
        return turned(np.asarray(picture), own_orientation(picture))


def check_intensity_range(value: object) -> None:
    """Raise `OptionError` if the value is no `IntensityRange`."""
    if value in ("auto", "full"):
        return
    numbers = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []
    if len(numbers) != 2 or not all(isinstance(number, int | float) for number in numbers) or numbers[0] >= numbers[1]:
        raise OptionError(
            f"intensity_range={value!r}: it must be auto, full, or the two stored values that become black and white, "
            "such as [0, 4095]."
        )


@contextmanager
def open_picture(file: Path, page: int | None = None) -> Iterator[Image.Image]:
    """Open an image file with Pillow, at a page of it, for as long as the context lasts.

    Raises:
        DataError: If it cannot be opened, or what is done within the context shows that it is broken; if it has more
            than `MOST_PIXELS` pixels, or several pages of which none is chosen.
    """
    try:
        with _PILLOWS_LIMIT:  # ours is stated above, and larger
            limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                picture: Image.Image = Image.open(file, formats=FORMATS)
            except UnidentifiedImageError:
                unknown = open_unknown_tiff(file, MOST_PIXELS)
                if unknown is None:
                    raise
                picture = unknown
            finally:
                Image.MAX_IMAGE_PIXELS = limit
        with picture:
            if page is not None:
                picture.seek(page)
            elif (pages := _pages_of(picture)) > 1:
                raise DataError(f"{file} has {pages} pages; save each as a file of its own.")
            _check_extent(picture, file)
            yield picture
    except DataError:
        raise
    except _BROKEN as error:
        empty = file.is_file() and not file.stat().st_size
        reason = "it is empty, 0 bytes" if empty else str(error)
        raise DataError(f"{file} cannot be read as an image ({reason}); replace or remove it.") from error


def _pages_of(picture: Image.Image) -> int:
    """Count pages. JPEG's further ones are previews of the first."""
    return int(getattr(picture, "n_frames", 1)) if picture.format in ("TIFF", "GIF", "WEBP") else 1


def _check_extent(picture: Image.Image, file: Path) -> None:
    width, height = picture.size
    if width * height > MOST_PIXELS:
        raise DataError(
            f"{file} has {width * height / 1e6:,.0f} megapixels, more than the {MOST_PIXELS / 1e6:,.0f} that are read; "
            "cut it into tiles or make it smaller."
        )
    is_plain_tiff = isinstance(picture, TiffImagePlugin.TiffImageFile) and picture.tile[0][0] == "raw"
    if is_plain_tiff and own_orientation(picture) in _QUARTER_TURNS:  # Pillow mixes up its rows and columns
        raise DataError(f"{file} is an uncompressed TIFF that EXIF turns by a quarter; save it upright.")


def turned_size(size: tuple[int, int], orientation: int | None) -> tuple[int, int]:
    """Return a width and height after a turn by EXIF orientation."""
    return (size[1], size[0]) if orientation in _QUARTER_TURNS else size


def turned(pixels: np.ndarray, orientation: int | None) -> np.ndarray:
    """Turn an array (H, W) or (H, W, C) as an EXIF orientation says; None is upright already."""
    if orientation in (3, 4, 7):
        pixels = pixels[::-1]
    if orientation in (2, 3, 7):
        pixels = pixels[:, ::-1]
    if orientation in (5, 7):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (6, 8):
        pixels = np.rot90(pixels, -1 if orientation == 6 else 1)
    return np.ascontiguousarray(pixels)


def reduced_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return the width and height at which an image of this width and height is read."""
    factor = math.ceil(math.sqrt(size[0] * size[1] / FULL_SIZE_PIXELS))
    return (math.ceil(size[0] / factor), math.ceil(size[1] / factor)) if factor > 1 else size


def own_orientation(picture: Image.Image) -> int | None:
    """Return the EXIF orientation; None if there is none, or its block is broken.

    Pillow takes it from a TIFF file's image when it has turned its pixels.
    """
    try:
        orientation = Image.Image.getexif(picture).get(_EXIF_ORIENTATION)  # a PNG's own getexif decodes the picture
    except (struct.error, *_BROKEN):
        name = getattr(picture, "filename", None) or "An image"
        _tell_once(f"{name} has a broken EXIF block, which may say how to turn it; it is read as it is stored.")
        return None
    return orientation if orientation in range(1, 9) else None


def is_grey_and_deep(picture: Image.Image) -> bool:
    """Return whether an image is one channel of more than 8 bits."""
    return picture.mode.startswith(("I", "F"))


def is_deep(picture: Image.Image) -> bool:
    """Return whether a file has more than 8 bits for a channel. Of colours, Pillow itself would keep the upper 8."""
    if is_grey_and_deep(picture):
        return True
    tile = getattr(picture, "tile", None)
    arguments = tile[0][3] if tile else ""
    return ";16" in (arguments if isinstance(arguments, str) else str(arguments[0]) if arguments else "")


def deep_values(picture: Image.Image, file: Path, size: tuple[int, int]) -> np.ndarray:
    """Decode more than 8 bits as they are stored, at a width and height.

    Returns:
        (H, W), or (H, W, 3) in RGB: of a float dtype if the file holds fractions, else of whole numbers.
    """
    values: np.ndarray | None
    if is_grey_and_deep(picture):
        values = np.asarray(picture)
    else:
        flags = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
        content, page = np.fromfile(file, np.uint8), picture.tell()
        if page:
            values = next(iter(cv2.imdecodemulti(content, flags, range=(page, page + 1))[1]), None)
        else:
            values = cv2.imdecode(content, flags)
        if values is None or values.dtype == np.uint8:
            raise DataError(f"{file} has 16 bits in a form that cannot be decoded; save it as PNG or with 8 bits.")
        values = values[..., ::-1] if values.ndim == 3 else values
    if values.shape[1::-1] != size:
        means = cv2.resize(values.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        values = means if values.dtype.kind == "f" else means.round().astype(values.dtype)
    return values


def _in_8_bits(values: np.ndarray, intensity_range: IntensityRange, file: Path | None) -> np.ndarray:
    """Bring stored values to uint8 (H, W, 3)."""
    if not np.isfinite(values).all():
        raise DataError(f"{file or 'The image'} holds values that are no numbers (NaN or infinity); save it without.")
    full = 1.0 if values.dtype.kind == "f" else 65535.0
    low, high = _limits(values, intensity_range, full, file)
    levels = ((values.astype(np.float64) - low) * (256 / (high - low))).clip(0, 255).astype(np.uint8)
    return levels if levels.ndim == 3 else np.repeat(levels[..., None], 3, axis=2)


def _limits(values: np.ndarray, intensity_range: IntensityRange, full: float, file: Path | None) -> tuple[float, float]:
    if not isinstance(intensity_range, str):
        low, high = intensity_range
        return low, high
    low, high = float(values.min()), float(values.max())
    if intensity_range == "full" or low == high or (low >= 0 and full / 2 < high <= full):
        return 0.0, full
    _tell_once(
        f"{file.parent if file else 'Images in memory'}: images of more than 8 bits that use a small part of their "
        "range, or go beyond it, are stretched, each from its lowest value to its highest. In training, "
        "dataset.intensity_range=[low, high] sets two values for all, and dataset.intensity_range=full leaves them as "
        "they are; an agent reads images as in its training."
    )
    return low, high


def _tell_once(message: str) -> None:
    with _TELLING:  # several threads read images
        if message not in _reported_messages:
            _reported_messages.add(message)
            log.warning(message)
