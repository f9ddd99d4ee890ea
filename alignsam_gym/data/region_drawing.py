"""Regions of annotation files, drawn as masks: polygons, boxes, ellipses, run lengths and small masks.

Coordinates are (x, y) in pixels from the image's upper left corner, so that pixel (0, 0) reaches from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from alignsam_gym.errors import DataError, OptionError

Size = tuple[int, int]
"""Width and height in pixels."""

_REACH = 1.0  # how many widths or heights beyond the image a point may lie


def pycocotools_mask() -> Any:
    """Import ``pycocotools.mask``, which fills polygons and packs run lengths.

    Raises:
        OptionError: The extra ``coco`` is not installed.
    """
    try:
        from pycocotools import mask
    except ImportError as error:
        raise OptionError("COCO's polygons and RLE need pycocotools: pip install 'alignsam-gym[coco]'.") from error
    return mask


def draw_polygons(polygons: Sequence[Any], size: Size) -> np.ndarray:
    """Fill polygons as COCO's own tools do, whose files state no other rule. What lies outside the image is cut off.

    Args:
        polygons: Points (N, 2) of each, or x and y in turn.
        size: The image's width and height.

    Returns:
        bool (H, W), True in any of the polygons.

    Raises:
        DataError: A polygon has fewer than three points or none in reach of the image.
        OptionError: The extra ``coco`` is not installed.
    """
    outlines = [_checked_outline(polygon, size).ravel().tolist() for polygon in polygons]
    if not outlines:
        raise DataError("it has no polygon")
    coco = pycocotools_mask()
    packed = coco.merge(coco.frPyObjects(outlines, size[1], size[0]))
    return draw_runs(unpack_runs(packed["counts"].decode()), size, order="F")


def draw_runs(runs: Sequence[int], size: Size, order: Literal["C", "F"]) -> np.ndarray:
    """Decode run lengths, the first of which is background.

    pycocotools is not asked, as it fills what runs are short of with whatever is in memory.

    Args:
        runs: Numbers of pixels.
        size: Width and height of what they fill.
        order: ``C`` if they go row by row, ``F`` if column by column.

    Returns:
        bool (H, W).

    Raises:
        DataError: They do not fill it.
    """
    width, height = size
    lengths = np.array(runs)
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or lengths.min(initial=0) < 0:
        raise DataError("its run lengths are no list of whole numbers")
    if lengths.sum() != width * height:
        raise DataError(f"its runs have {lengths.sum()} pixels in all, not the {width * height} of {width}×{height}")
    mask = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape((height, width), order=order)
    return np.ascontiguousarray(mask)


def unpack_runs(packed: str) -> list[int]:
    """Unpack COCO's compressed run lengths.

    A number is spread over characters of 5 bits from ``0`` on, the lowest first, with a 6th bit in all but its last.
    From the fourth number on it is the difference to the last but one.

    Raises:
        DataError: The text ends within a number, or has characters that none can have.
    """
    runs: list[int] = []
    number = shift = 0
    for character in packed:
        bits = ord(character) - ord("0")
        if not 0 <= bits < 64:
            raise DataError(f"its packed run lengths hold {character!r}")
        number |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            signed = number - (1 << shift) if bits & 16 else number
            runs.append(signed + runs[-2] if len(runs) > 2 else signed)
            number = shift = 0
    if shift:
        raise DataError("its packed run lengths break off")
    return runs


def paste(part: np.ndarray, left: int, top: int, size: Size) -> np.ndarray:
    """Place a small mask, bool (h, w), in an image.

    Returns:
        bool (H, W).

    Raises:
        DataError: It reaches out of the image.
    """
    (height, width), (image_width, image_height) = part.shape, size
    if min(left, top) < 0 or left + width > image_width or top + height > image_height:
        raise DataError(
            f"its mask of {width}×{height} pixels at ({left}, {top}) reaches out of the image, {image_width}×"
            f"{image_height}"
        )
    mask = np.zeros((image_height, image_width), bool)
    mask[top : top + height, left : left + width] = part
    return mask


def box_outline(x0: float, y0: float, x1: float, y1: float, degrees: float = 0) -> np.ndarray:
    """Return the corners (4, 2) of a box that is turned clockwise about its middle."""
    corners = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], float)
    return _rotated(corners, corners.mean(0), degrees)


def ellipse_outline(x: float, y: float, rx: float, ry: float, degrees: float = 0) -> np.ndarray:
    """Return points (360, 2) on an ellipse of these half axes that is turned clockwise about its middle."""
    angles = np.linspace(0, 2 * np.pi, 360, endpoint=False)
    points = np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], axis=1)
    return _rotated(points, np.array([x, y]), degrees)


def _rotated(points: np.ndarray, middle: np.ndarray, degrees: float) -> np.ndarray:
    sine, cosine = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    turn = np.array([[cosine, -sine], [sine, cosine]])  # clockwise, as y points down
    turned: np.ndarray = (points - middle) @ turn.T + middle
    return turned


def _checked_outline(polygon: Any, size: Size) -> np.ndarray:
    try:
        points = np.asarray(polygon, float).reshape(-1, 2)
    except (TypeError, ValueError):
        raise DataError("a polygon is no list of x and y in turn") from None
    if len(points) < 3 or not np.isfinite(points).all():
        raise DataError(f"a polygon of {len(points)} points: it must have three or more, which are numbers")
    low, high = points.min(0), points.max(0)
    if (high <= 0).any() or (low >= size).any() or (np.maximum(-low, high - size) > np.multiply(size, _REACH)).any():
        (x0, y0), (x1, y1) = low, high
        raise DataError(
            f"a polygon from ({x0:g}, {y0:g}) to ({x1:g}, {y1:g}) lies outside the image, {size[0]}×{size[1]}, "
            "which may have been resized after it was labelled"
        )
    return points
