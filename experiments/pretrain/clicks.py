"""Simulated users: where the next clicks go, given a target and the answer so far."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from alignsam_gym.foundation.sam.batched_decoder import PADDING
from alignsam_gym.transforms import deepest_point


def sample_clicks(where: Tensor, target: Tensor, count: int, pixel: float) -> tuple[Tensor, Tensor]:
    """Draw `count` points from each row's region, labelled by the target.

    where: bool (B, H, W), the region; a row without any true pixel gets padding.
    target: bool (B, H, W). pixel: side of one mask pixel in pixels of the model's input.

    Returns points float (B, count, 2), (x, y) in input pixels, and labels int64 (B, count).
    """
    width = where.shape[2]
    empty = ~where.flatten(1).any(1)
    weights = where.flatten(1).float() + empty[:, None]  # multinomial wants something to draw from
    chosen = torch.multinomial(weights, count, replacement=True)
    points = torch.stack([chosen % width + 0.5, chosen // width + 0.5], dim=-1) * pixel
    labels = target.flatten(1).gather(1, chosen).long()
    labels[empty] = PADDING
    return points, labels


def hardest_click(prediction: np.ndarray, target: np.ndarray) -> tuple[float, float, int]:
    """The oracle's click: the pixel deepest inside the error, by Euclidean distance to where it ends.

    prediction, target: bool (H, W) that differ somewhere. Returns x, y (pixel centres) and the true label.
    """
    best = (-1.0, 0.0, 0.0, 0)
    for label, error in ((1, target & ~prediction), (0, prediction & ~target)):
        x, y, depth = deepest_point(error)
        best = max(best, (depth, x, y, label))
    return best[1:]
