"""The answer that SAM and the SRM give together. [ours; env.answer]"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from alignsam_gym.transforms import resize_map

SAM_LIMIT, SRM_LIMIT = 10.0, 4.0
"""Logits are clamped to ± these before they are weighed: beyond them neither model is right more often."""

_PRIOR = (0.5, 0.5, 0.0)
_PRIOR_STRENGTH = 1e-4  # of the squared distance to the prior, beside a mean loss: it decides where no pixel does
_NEWTON_STEPS = 20
_FITTED_SIDE = 32  # every so many pixels of a side, as neighbours tell the same


class AnswerFusion(nn.Module):
    """Weighs SAM's logits and the SRM's map.

    SAM's answer says where things end, the SRM's map which of them are meant. Three numbers decide how far each is
    believed: half of either until they are fitted. No gradient goes through SAM or the SRM.

    Attributes:
        weights: float32 (3,), of SAM's logits and of the map's, and a bias.
    """

    weights: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weights", torch.tensor(_PRIOR))

    def forward(self, sam_logits: Tensor, srm_logits: Tensor) -> Tensor:
        """Combine B answers with B maps.

        Args:
            sam_logits: float (B, 4h, 4w), SAM's.
            srm_logits: float (B, g, g), the SRM's.

        Returns:
            Logits, float (B, 4h, 4w), positive in the mask.
        """
        by_sam, by_srm, bias = self.weights.unbind()
        sam, srm = _comparable(sam_logits, srm_logits)
        return by_sam * sam + by_srm * srm + bias

    def fit(self, sam_logits: Tensor, srm_logits: Tensor, truth: Tensor, valid: Tensor) -> None:
        """Fit the weights by logistic regression on the pixels of B answers, in a few of Newton's steps.

        Args:
            sam_logits: float (B, 4h, 4w), SAM's.
            srm_logits: float (B, g, g), maps of an SRM that has not seen the images.
            truth: float (B, 4h, 4w) in [0, 1], the foreground's fraction of each pixel.
            valid: float (B, 4h, 4w) in [0, 1], the labelled fraction of each pixel, which is its weight.
        """
        sam, srm = _comparable(sam_logits, srm_logits)
        # On the host, as a device may lack float64.
        seen = torch.stack([sam, srm, torch.ones_like(sam)], dim=-1).flatten(0, -2).cpu().double()
        target, weight = truth.flatten().cpu().double(), valid.flatten().cpu().double()
        weight = weight / weight.sum().clamp(min=1e-6)
        prior = torch.tensor(_PRIOR, dtype=torch.float64)
        found = prior.clone()
        for _ in range(_NEWTON_STEPS):
            probability = (seen @ found).sigmoid()
            gradient = seen.T @ (weight * (probability - target)) + _PRIOR_STRENGTH * (found - prior)
            curvature = (seen.T * (weight * probability * (1 - probability))) @ seen
            found -= torch.linalg.solve(curvature + _PRIOR_STRENGTH * torch.eye(3, dtype=torch.float64), gradient)
        self.weights.copy_(found)


def _comparable(sam_logits: Tensor, srm_logits: Tensor) -> tuple[Tensor, Tensor]:
    """Clamp both, and bring the map to the answer's size."""
    maps = resize_map(srm_logits, sam_logits.shape[-2:])
    return sam_logits.clamp(-SAM_LIMIT, SAM_LIMIT), maps.clamp(-SRM_LIMIT, SRM_LIMIT)
