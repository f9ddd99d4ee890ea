"""Geometry: other sizes of images, maps and logits, and points in another coordinate system.

Sizes are (height, width), points are (x, y). The ending of a variable's name says what its points are measured in:

- `_px`: pixels of the image itself; its upper left corner is (0, 0), its lower right one (width, height).
- `_frame`: pixels of the square frame that every image is resized to (§4.1); both run from 0 to `frame_side`, which is
  800 in the paper.
- `_unit`: fractions of the width and of the height, from 0 to 1.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize an image: average along an axis that shrinks, interpolate linearly along one that grows.

    Args:
        image: uint8 or float32 (H, W) or (H, W, 3).
        size: New (height, width).

    Returns:
        The image in its own dtype, (height, width) or (height, width, 3).
    """
    (height, width), (old_height, old_width) = size, image.shape[:2]
    down = cv2.INTER_AREA if height < old_height else cv2.INTER_LINEAR
    across = cv2.INTER_AREA if width < old_width else cv2.INTER_LINEAR
    if across != down:  # OpenCV averages neither axis if one of them grows
        image = cv2.resize(image, (width, old_height), interpolation=across)
    return cv2.resize(image, (width, height), interpolation=down)


def resize_map(maps: Tensor, size: tuple[int, ...], antialias: bool = False) -> Tensor:
    """Resize maps: average over the cells that a new one covers, or interpolate bilinearly where there are more.

    Args:
        maps: float (..., h, w).
        size: New (height, width), both larger, or both smaller.
        antialias: Average with weights that fall off linearly, over twice the area of a new cell, instead of equally.

    Returns:
        float (..., height, width); `maps` itself if it has that size.
    """
    if maps.shape[-2:] == size:
        return maps
    planes = maps.reshape(-1, 1, *maps.shape[-2:])
    if antialias:
        resized = F.interpolate(planes, size, mode="bilinear", antialias=True)
    else:
        resized = F.interpolate(planes, size, mode="area" if size[0] < maps.shape[-2] else "bilinear")
    return resized.reshape(*maps.shape[:-2], *size)


def upsample_logits(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring SAM's low-resolution logits to an image's size bilinearly, in one step.

    SAM takes two: to its input's size, and from there to the image's. The paper does not say. [ours]

    Args:
        logits: float (h, w).
        size: (height, width) of the image.

    Returns:
        float (height, width).
    """
    return F.interpolate(logits[None, None], size, mode="bilinear", align_corners=False)[0, 0]


def mask_from_logits(logits: Tensor, size: tuple[int, int]) -> np.ndarray:
    """Upsample logits, float (h, w), and cut them at zero: bool (height, width)."""
    return np.asarray((upsample_logits(logits, size) > 0).cpu().numpy())


def deepest_point(region: np.ndarray) -> tuple[float, float, float]:
    """Find the pixel of a region, bool (H, W), that is farthest from where the region or the image ends.

    Returns:
        Its centre's (x, y), and the distance, in pixels; 0 if the region is empty.
    """
    padded = np.pad(region.astype(np.uint8), 1)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return float(x + 0.5), float(y + 0.5), float(depth[y, x])


def frame_to_unit(points_frame: Tensor, frame_side: int) -> Tensor:
    """Turn points (..., 2) of the frame into fractions of its side."""
    return points_frame / frame_side


def unit_to_frame(points_unit: Tensor, frame_side: int) -> Tensor:
    """Turn points (..., 2) as fractions into pixels of the frame."""
    return points_unit * frame_side


def frame_to_image(points_frame: Tensor, frame_side: int, size: tuple[int, int]) -> Tensor:
    """Turn points (..., 2) of the frame into pixels of an image of that (height, width)."""
    return points_frame * (_extent(size, points_frame) / frame_side)


def image_to_frame(points_px: Tensor, size: tuple[int, int], frame_side: int) -> Tensor:
    """Turn points (..., 2) in pixels of an image of that (height, width) into pixels of the frame."""
    return points_px * (frame_side / _extent(size, points_px))


def _extent(size: tuple[int, int], like: Tensor) -> Tensor:
    """(width, height), the largest x and y."""
    return torch.tensor([size[1], size[0]], dtype=like.dtype, device=like.device)
