"""The losses that masks are learned by."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def segmentation_loss(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Add Dice and binary cross-entropy (Eq. 13), unlabelled cells left out.

    The paper does not say whether y′ is binary and how Dice is smoothed: here y′ is a fraction, and s = 1. [ours]

    Args:
        logits: float (B, h, w).
        target: float (B, h, w) in [0, 1], the foreground's fraction of each cell.
        valid: float (B, h, w) in [0, 1], the labelled fraction of each cell.

    Returns:
        A scalar: the mean cross-entropy of what is labelled, and the mean Dice loss of the maps.
    """
    entropy = F.binary_cross_entropy_with_logits(logits, target, weight=valid, reduction="sum")
    dice = dice_loss(logits.sigmoid() * valid, target * valid)
    return entropy / valid.sum().clamp(min=1e-6) + dice.mean()


def dice_loss(
    probability: Tensor,
    target: Tensor,
    dim: tuple[int, ...] | None = (-2, -1),
    smoothing: float = 1.0,
    squared: bool = False,
) -> Tensor:
    """Return 1 − (2 Σ p t + s) / (Σ p + Σ t + s).

    Args:
        probability: p, float in [0, 1]; 0 where there is no label.
        target: t, float in [0, 1], of the same shape; 0 where there is no label.
        dim: What is summed over, by default each map (…, h, w); None for everything.
        smoothing: s, which keeps two empty maps from 0 / 0.
        squared: Whether the denominator sums p² and t².

    Returns:
        float in [0, 1], of the shape that is left.
    """
    overlap = (probability * target).sum(dim)
    if squared:
        probability, target = probability**2, target**2
    return 1 - (2 * overlap + smoothing) / (probability.sum(dim) + target.sum(dim) + smoothing)
