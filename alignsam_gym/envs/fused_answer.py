"""The answer that SAM and the SRM give together. [ours; env.answer]"""

from __future__ import annotations

import torch
from torch import Tensor

from alignsam_gym.metrics.logits_iou import logits_iou
from alignsam_gym.transforms import resize_map

SAM_LIMIT, SRM_LIMIT = 10.0, 4.0
"""Logits are clamped to ± these before they are weighed, as neither model is right more often beyond them."""


def agreement(sam_logits: Tensor, maps: Tensor) -> Tensor:
    """Compute the IoU of B masks of SAM's and the SRM's.

    Args:
        sam_logits: float (B, h, w), SAM's.
        maps: float (B, h, w), the SRM's logits, resized to them.

    Returns:
        float (B,) in [0, 1]; 1 where both masks are empty.
    """
    return logits_iou(sam_logits, (maps > 0).to(maps), torch.ones_like(maps))


def fuse_answers(sam_logits: Tensor, srm_logits: Tensor) -> Tensor:
    """Combine B answers of SAM with B maps of the SRM.

    The SRM's map says what is meant, SAM's answer where it ends. Where the prompts have not led SAM to what is meant,
    the two masks differ, and then the map counts: SAM's weight is the square of the two masks' IoU, the map's is the
    rest. No gradient goes through SAM or the SRM.

    Args:
        sam_logits: float (B, 4h, 4w), SAM's.
        srm_logits: float (B, g, g), the SRM's.

    Returns:
        Logits, float (B, 4h, 4w), positive in the mask.
    """
    maps = resize_map(srm_logits, sam_logits.shape[-2:])
    sam_weight = agreement(sam_logits, maps).square()[:, None, None]
    answers: Tensor = sam_logits.clamp(-SAM_LIMIT, SAM_LIMIT) * sam_weight
    return answers + maps.clamp(-SRM_LIMIT, SRM_LIMIT) * (1 - sam_weight)
