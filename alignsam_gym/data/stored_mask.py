"""A mask file's pixels as they are stored, before anything decides what is foreground."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from alignsam_gym.data.image_files import deep_values, is_deep, open_picture, own_orientation, reduced_size, turned
from alignsam_gym.errors import DataError


@dataclass(frozen=True)
class StoredMask:
    """A mask's pixels as its file has them.

    Attributes:
        file: Where they come from.
        values: Palette indices or grey levels (H, W), or colours uint8 (H, W, 3). Bits are 0 and 255.
        palette: uint8 (N, 3), the colour of each index; None if `values` are no indices.
        alpha: uint8 (H, W), 255 where opaque; None if it is the same everywhere.
        is_lossy: Whether the file's compression changes values.
    """

    file: Path
    values: np.ndarray
    palette: np.ndarray | None
    alpha: np.ndarray | None
    is_lossy: bool

    @property
    def codes(self) -> np.ndarray:
        """A number for each pixel, (H, W), equal where the stored values are equal."""
        if self.values.ndim == 2:
            return self.values
        red, green, blue = (self.values[..., channel].astype(np.uint32) for channel in range(3))
        codes: np.ndarray = red << 16 | green << 8 | blue
        return codes

    def colour(self, code: float) -> tuple[float, float, float]:
        """Red, green and blue of a pixel with this code, from 0 to 255."""
        if self.palette is not None:
            index = int(code)
            red, green, blue = (float(part) for part in self.palette[index]) if index < len(self.palette) else (0, 0, 0)
            return red, green, blue
        if self.values.ndim == 2:
            level = float(code) * 255 / self.brightest
            return level, level, level
        packed = int(code)
        return packed >> 16, packed >> 8 & 255, packed & 255

    @property
    def brightest(self) -> float:
        """The grey level that is white: 255, or 65,535 or 1 if the file has deeper levels and some are above 255."""
        if self.values.dtype.kind == "f":
            return 1.0 if self.values.max(initial=0) <= 1 else 255.0
        return 255.0 if self.values.max(initial=0) <= 255 else 65535.0

    @property
    def luminance(self) -> np.ndarray:
        """From 0 to 255 (H, W); of grey files the levels as they are stored."""
        if self.palette is not None:
            padded = np.zeros((256, 3), np.uint8)
            padded[: len(self.palette)] = self.palette
            luminance: np.ndarray = _grey(padded[None])[0][self.values]
            return luminance
        return self.values if self.values.ndim == 2 else _grey(self.values)

    def code_luminance(self, code: float) -> float:
        """Return the luminance of pixels with this code, from 0 to 255."""
        return float(np.dot(self.colour(code), (0.299, 0.587, 0.114)))

    def name(self, code: float) -> str:
        """Write a code as `MaskRule.foreground` takes it."""
        if self.values.ndim == 3:
            return str([int(part) for part in self.colour(code)]).replace(" ", "")
        return f"{code:g}"

    def describe(self, code: float) -> str:
        """Write a code for a message: its colour, too, if it is an index."""
        return (
            self.name(code)
            if self.palette is None
            else f"{self.name(code)} (colour {[int(part) for part in self.colour(code)]})"
        )


def read_stored(file: Path, orientation: int | None = None) -> StoredMask:
    """Read a mask file without deciding what is foreground.

    Args:
        file: In one of `image_files.FORMATS`. Of more than `image_files.FULL_SIZE_PIXELS` pixels, every n-th is taken.
        orientation: How to turn it, an EXIF orientation, if the file does not say.

    Raises:
        DataError: If the file cannot be read.
    """
    with open_picture(file) as picture:
        size = picture.size
        lossy = picture.format in ("JPEG", "MPO", "WEBP") or picture.info.get("compression") == "jpeg"
        palette = alpha = None
        if is_deep(picture):
            values = deep_values(picture, file, size)
        elif picture.mode == "1":
            values = np.asarray(picture.convert("L"))
        elif picture.mode in ("P", "L") and "transparency" not in picture.info:
            values = np.asarray(picture)
        elif picture.mode == "P":
            values, alpha = np.asarray(picture), np.asarray(picture.convert("RGBA"))[..., 3]
        else:
            colours = np.asarray(picture.convert("RGBA"))
            values, alpha = colours[..., :3], colours[..., 3]
        if picture.mode == "P":
            palette = np.array(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)
        orientation = own_orientation(picture) or orientation
    if values.ndim == 3 and (values == values[..., :1]).all():
        values = values[..., 0]
    if values.ndim == 3 and values.dtype != np.uint8:
        raise DataError(f"{file} holds colours of 16 bits, which is too fine for a mask; save it with 8 bits.")
    if alpha is not None and alpha.min() == alpha.max():
        alpha = None
    values = turned(thinned(values, size), orientation)
    if alpha is not None:
        alpha = turned(thinned(alpha, size), orientation)
    return StoredMask(file, values, palette, alpha, lossy)


def distinct(codes: np.ndarray) -> list[float]:
    """Return the distinct codes in ascending order; of more than two, three."""
    found: list[float] = []
    rest = codes.ravel()
    while rest.size and len(found) < 3:
        found.append(rest[0].item())
        rest = rest[rest != rest[0]]
    return sorted(found)


def thinned(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Take every n-th row and column, so that the width and height are what `read_image` returns.

    Args:
        pixels: (H, W) or (H, W, C).
        size: Its width and height.
    """
    width, height = reduced_size(size)
    return resize_nearest(pixels, (height, width))


def resize_nearest(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize without mixing values: each new pixel is the old one at its middle.

    Args:
        pixels: (H, W) or (H, W, C).
        size: New (height, width).

    Returns:
        (height, width) or (height, width, C) in the same dtype; `pixels` itself if it has that size.
    """
    if pixels.shape[:2] == size:
        return pixels
    # OpenCV's INTER_NEAREST takes the upper left pixel; its INTER_NEAREST_EXACT crashes at sides of 32,768 and more.
    rows, columns = _middles(size[0], pixels.shape[0]), _middles(size[1], pixels.shape[1])
    resized: np.ndarray = pixels[rows[:, None], columns]
    return resized


def _middles(count: int, pixels: int) -> np.ndarray:
    """Return which of a number of pixels is at the middle of each of `count` equal parts."""
    middles: np.ndarray = (np.arange(count) * 2 + 1) * pixels // (2 * count)
    return middles


def _grey(colours: np.ndarray) -> np.ndarray:
    grey: np.ndarray = cv2.cvtColor(np.ascontiguousarray(colours), cv2.COLOR_RGB2GRAY)
    return grey
