"""The observation that every SAM gives alike: what SAM and the SRM say of each patch, and what was prompted."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from alignsam_gym.envs.initial_prompts import INITIAL_PROMPTS
from alignsam_gym.envs.rules import Rules
from alignsam_gym.foundation.sam.batched_decoder import PADDING

EVIDENCE_CHANNELS = (
    *("srm_mean", "srm_max", "srm_min", "srm_centre", "srm_unsure"),
    *("sam_mean", "sam_max", "sam_min", "sam_centre", "sam_unsure"),
    *("difference_mean", "difference_centre", "disagreement_mean", "disagreement_max", "disagreement_centre"),
    *("label", "positive", "negative", "visited"),
    *("image_srm", "image_sam", "image_disagreement", "image_agreement", "image_prompts"),
)
"""What `patch_evidence` gives of a patch, in this order; `image_` is the same in all patches of an image."""

_SAMPLES = 5
"""Points along a patch's side at which maps are sampled. It is odd, so that the patch's centre is one of them."""

_MANY_PROMPTS = 4
"""After so many steps `image_prompts` is one half. It depends on no episode's length."""


def patch_evidence(rules: Rules, mask: Tensor, srm_logits: Tensor, points_unit: Tensor, labels: Tensor) -> Tensor:
    """Describe each patch by what any SAM, at any resolution, gives. [ours]

    Maps are sampled at 5 × 5 points of a patch. ``difference`` is the SRM's map less SAM's mask, ``disagreement`` its
    absolute value, ``unsure`` is 4p(1 − p) of a probability p, ``agreement`` the soft IoU of the two maps. ``label`` is
    +1 or −1, as the SRM would label the patch's centre. ``positive`` and ``negative`` tell where prompts are.

    Args:
        rules: They say what a patch is.
        mask: float (B, h, w) in [0, 1], SAM's answer as probabilities.
        srm_logits: float (B, g, g), the SRM's map as logits.
        points_unit: float (B, n, 2), the prompts' (x, y) as fractions of the frame, first those of the initial pair.
        labels: int (B, n): 1, 0, or −1 where there is no prompt.

    Returns:
        float32 (B, channels, side, side), in [−1, 1], in the order of `EVIDENCE_CHANNELS`.
    """
    side = rules.grid.side
    srm, sam = (_sample(maps, side) for maps in (srm_logits, mask))
    centre = srm.shape[-1] // 2
    srm_centre_logits = srm[..., centre]
    srm = srm.sigmoid()
    difference = srm - sam
    disagreement = difference.abs()
    positive, negative, visited = _prompted(side, points_unit, labels)
    steps = (labels[:, INITIAL_PROMPTS:] != PADDING).sum(1).to(srm)
    both = torch.minimum(srm, sam).mean((1, 2, 3)) / torch.maximum(srm, sam).mean((1, 2, 3)).clamp(min=1e-6)
    whole = [
        srm.mean((1, 2, 3)),
        sam.mean((1, 2, 3)),
        disagreement.mean((1, 2, 3)),
        both,
        steps / (steps + _MANY_PROMPTS),
    ]
    by_patch = [
        *(srm.mean(3), srm.amax(3), srm.amin(3), srm[..., centre], (4 * srm * (1 - srm)).mean(3)),
        *(sam.mean(3), sam.amax(3), sam.amin(3), sam[..., centre], (4 * sam * (1 - sam)).mean(3)),
        *(difference.mean(3), difference[..., centre]),
        *(disagreement.mean(3), disagreement.amax(3), disagreement[..., centre]),
        *((srm_centre_logits > 0).to(srm) * 2 - 1, positive, negative, visited),
        *(value[:, None, None].expand_as(positive) for value in whole),
    ]
    return torch.stack(by_patch, dim=1)


def _sample(maps: Tensor, side: int) -> Tensor:
    """Sample maps (B, h, w) bilinearly at points spread evenly over each patch: (B, side, side, points)."""
    fine = F.interpolate(maps[:, None], (side * _SAMPLES, side * _SAMPLES), mode="bilinear", align_corners=False)
    blocks = fine.reshape(-1, side, _SAMPLES, side, _SAMPLES).permute(0, 1, 3, 2, 4)
    return blocks.flatten(3)


def _prompted(side: int, points_unit: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Tell where a positive prompt is, where a negative one, and what a step has chosen: float (B, side, side) each."""
    column, row = (points_unit * side).long().clamp(0, side - 1).unbind(-1)
    here = (row * side + column)[..., None] == torch.arange(side * side, device=labels.device)
    given = [labels == 1, labels == 0, labels != PADDING]
    marks = [(here & known[..., None]).to(points_unit.dtype) for known in given]
    positive, negative = (each.amax(1) for each in marks[:2])
    visited = marks[2][:, INITIAL_PROMPTS:].sum(1).clamp(max=1)  # of no step yet, a sum of nothing
    return tuple(each.unflatten(1, (side, side)) for each in (positive, negative, visited))
