"""Bilinear interpolation in NumPy, which ours is compared with."""

import numpy as np


def bilinear(values, x, y):
    """`values` (h, w) at (x, y), fractions of the frame, between the centres of cells and flat outside them."""
    height, width = values.shape
    x, y = np.clip(x * width - 0.5, 0, width - 1), np.clip(y * height - 0.5, 0, height - 1)
    left, top = min(int(x), max(width - 2, 0)), min(int(y), max(height - 2, 0))
    right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
    a, b = x - left, y - top
    upper = (1 - a) * values[top, left] + a * values[top, right]
    lower = (1 - a) * values[bottom, left] + a * values[bottom, right]
    return (1 - b) * upper + b * lower
