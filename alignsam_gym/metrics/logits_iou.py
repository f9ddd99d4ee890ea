"""IoU at the resolution of SAM's answers, where a cell may be foreground or labelled in part."""

from __future__ import annotations

import torch
from torch import Tensor


def logits_iou(logits: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """Compare answers with the ground truth cell by cell, cut at zero and at one half.

    Args:
        logits: float (B, h, w), answers.
        truth: float (B, h, w) in [0, 1], the foreground's fraction of each cell's labelled pixels.
        valid: float (B, h, w) in [0, 1], the labelled pixels' fraction of each cell, which is the cell's weight.

    Returns:
        IoU, float (B,) in [0, 1]; 1 where neither answer nor truth has foreground.
    """
    answer, target = (logits > 0).float() * valid, (truth > 0.5).float() * valid
    union = torch.maximum(answer, target).sum((1, 2))
    overlap = torch.minimum(answer, target).sum((1, 2))
    return torch.where(union > 0, overlap / union.clamp(min=1e-6), torch.ones_like(union))
