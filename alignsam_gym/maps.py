"""Maps at another resolution, and how well they agree."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def resize_map(maps: Tensor, cells: tuple[int, ...]) -> Tensor:
    """Maps float (B, H, W) on a grid of `cells` (h, w): means over cells, or between two where there are more."""
    if maps.shape[1:] == cells:
        return maps
    mode = "area" if cells[0] < maps.shape[1] else "bilinear"
    return F.interpolate(maps[:, None], cells, mode=mode)[:, 0]


def fraction_of(part: Tensor, whole: Tensor) -> Tensor:
    """How much of `whole` is `part`, float of one shape, both shares of a cell's area; 0 where there is no whole."""
    return part / whole.clamp(min=1e-6)


def iou(logits: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """IoU, float (B,), of answers as logits with the truth, all float (B, h, w); 1 where there is neither.

    truth: the foreground's share of each cell's labelled pixels. valid: their share of the cell.
    """
    answer, target = (logits > 0).float() * valid, (truth > 0.5).float() * valid
    union = torch.maximum(answer, target).sum((1, 2))
    overlap = torch.minimum(answer, target).sum((1, 2))
    return torch.where(union > 0, overlap / union.clamp(min=1e-6), torch.ones_like(union))
