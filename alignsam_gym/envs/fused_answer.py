"""The answer that SAM and the SRM give together. [ours; env.answer]"""

from __future__ import annotations

from torch import Tensor

from alignsam_gym.transforms import resize_map

SAM_LIMIT, SRM_LIMIT = 10.0, 4.0
"""Logits are clamped to ± these before they are weighed, as neither model is right more often beyond them."""


def fuse_answers(sam_logits: Tensor, srm_logits: Tensor, prompts: Tensor) -> Tensor:
    """Combine B answers of SAM with B maps of the SRM.

    SAM's answer says where things end, the SRM's map which of them are meant. After t prompts the map has the weight
    (1 + 1 / (1 + t)) / 2: the whole before the first prompt, in the end half. Weights that are fitted on the labelled
    images are no better, and far worse where these are few. No gradient goes through SAM or the SRM.

    Args:
        sam_logits: float (B, 4h, 4w), SAM's.
        srm_logits: float (B, g, g), the SRM's.
        prompts: int64 (B,), t, the prompts after the initial pair.

    Returns:
        Logits, float (B, 4h, 4w), positive in the mask.
    """
    maps = resize_map(srm_logits, sam_logits.shape[-2:])
    weight = (0.5 + 0.5 / (1 + prompts.to(maps.dtype)))[:, None, None]
    answers: Tensor = (
        sam_logits.clamp(-SAM_LIMIT, SAM_LIMIT) * (1 - weight) + maps.clamp(-SRM_LIMIT, SRM_LIMIT) * weight
    )
    return answers
