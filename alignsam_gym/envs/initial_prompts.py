"""The two prompts that an episode begins with: one on the foreground, one on the background (§3.2, §3.3)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from alignsam_gym.foundation.sam.batched_decoder import PADDING
from alignsam_gym.transforms import image_to_frame, unit_to_frame

INITIAL_PROMPTS = 2
"""Prompts before the first action."""


def prompts_from_truth(
    mask: np.ndarray, void: np.ndarray | None, frame_side: int, generator: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Draw one random foreground and one random background pixel of the ground truth (§3.2).

    Args:
        mask: bool (H, W), the foreground.
        void: bool (H, W), the pixels without a label, which are not drawn; or None.
        frame_side: Side of the frame in pixels.
        generator: What draws.

    Returns:
        Points float32 (2, 2), (x, y) in the frame; and labels int64 (2,), 1 and 0. Where the mask lacks one kind of
        pixel, that prompt is padding: only the other is given. [ours]
    """
    points_frame = torch.zeros(INITIAL_PROMPTS, 2)
    labels = torch.full((INITIAL_PROMPTS,), PADDING)
    background = ~mask if void is None else ~(mask | void)
    for slot, (region, label) in enumerate(((mask, 1), (background, 0))):
        pixels = np.flatnonzero(region)
        if len(pixels):
            y, x = np.divmod(int(generator.choice(pixels)), mask.shape[1])
            point_px = torch.tensor([x + 0.5, y + 0.5], dtype=torch.float64)
            points_frame[slot] = image_to_frame(point_px, (mask.shape[0], mask.shape[1]), frame_side)
            labels[slot] = label
    return points_frame, labels


def prompts_from_map(maps: Tensor, frame_side: int) -> tuple[Tensor, Tensor]:
    """Take the highest point of each map as foreground, and its lowest as background (§3.3).

    Args:
        maps: float (B, h, w), which span the frame.
        frame_side: Side of the frame in pixels.

    Returns:
        Points float (B, 2, 2), (x, y) in the frame; and labels int64 (B, 2), 1 and 0.
    """
    height, width = maps.shape[1:]
    extremes = torch.stack([maps.flatten(1).argmax(1), maps.flatten(1).argmin(1)], dim=1)
    cells = torch.stack([extremes % width, extremes // width], dim=2)
    points_frame = unit_to_frame((cells + 0.5) / torch.tensor([width, height], device=maps.device), frame_side)
    return points_frame, torch.tensor([1, 0], device=maps.device).expand(len(maps), -1)
