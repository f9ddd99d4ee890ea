"""The outlines of a mask, from which `region_drawing.draw_polygons` fills the same mask again."""

from __future__ import annotations

import cv2
import numpy as np


def mask_outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Trace a mask along the edges of its pixels, one closed outline for each connected part.

    Inner corners are cut off by half a pixel, so that the middle of each pixel is where it belongs.

    A hole is joined to the outline around it by a cut of no width, there and back, so that one polygon has both. It
    stays empty where a polygon is filled by crossings, as COCO's tools do, or by windings.

    Args:
        mask: bool (H, W). Pixels that meet at a corner are connected.

    Returns:
        float64 (N, 2) each, (x, y) in pixels; pixel (0, 0) reaches from 0 to 1.
    """
    doubled = cv2.resize(mask.astype(np.uint8), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    # OpenCV goes through the middles of pixels. Here the corners of the mask's pixels have become pixels themselves.
    corners = cv2.dilate(np.pad(doubled, ((0, 1), (0, 1))), np.ones((2, 2), np.uint8), anchor=(1, 1))
    rings, tree = cv2.findContours(corners, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    points = [ring[:, 0] / 2 for ring in rings]
    parents = [int(node[3]) for node in tree[0]] if rings else []
    outlines = {number: points[number] for number, parent in enumerate(parents) if parent < 0}
    for number, parent in enumerate(parents):
        if parent >= 0:
            outlines[parent] = _joined(outlines[parent], points[number])
    return list(outlines.values())


def _joined(outline: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Go around the outline to its point next to the hole, over to the hole, around it, and back."""
    nearest = int(np.abs(outline - hole[0]).sum(axis=1).argmin())
    return np.concatenate([outline[: nearest + 1], hole, hole[:1], outline[nearest:]])
