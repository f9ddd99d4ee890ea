"""The answer that SAM and the SRM give together, and how sure an answer is of itself. [ours]"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alignsam_gym.transforms import resize_map

SAM_LIMIT, SRM_LIMIT = 10.0, 4.0
"""Logits are clamped to ± these before they are weighed, as neither model is right more often beyond them."""

_UNFITTED = ((0.5, 0.5, 0.0), (0.0, 0.0, 0.0))
_PENALTY = 1e-4  # of the squared distance to the above, beside a mean loss: it decides where no pixel does


class AnswerFusion(nn.Module):
    """Weighs SAM's logits and the SRM's map.

    SAM's answer says where things end, the SRM's map which of them are meant. The more prompts SAM has had, the less
    the map adds: after t prompts the weights are w + v / (1 + t). Until they are fitted, it is half of either. No
    gradient goes through SAM or the SRM.

    Attributes:
        weights: float32 (2, 3), w and v, each of SAM's logits, of the map's, and a bias.
    """

    weights: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weights", torch.tensor(_UNFITTED))

    def forward(self, sam_logits: Tensor, srm_logits: Tensor, prompts: Tensor) -> Tensor:
        """Combine B answers with B maps.

        Args:
            sam_logits: float (B, 4h, 4w), SAM's.
            srm_logits: float (B, g, g), the SRM's.
            prompts: int64 (B,), t, the prompts after the initial pair.

        Returns:
            Logits, float (B, 4h, 4w), positive in the mask.
        """
        sam, srm, first = _terms(sam_logits, srm_logits, prompts)
        by_sam, by_srm, bias = (w + v * first for w, v in self.weights.unbind(1))
        combined: Tensor = by_sam * sam + by_srm * srm + bias
        return combined

    @torch.enable_grad()
    def fit(self, sam_logits: Tensor, srm_logits: Tensor, prompts: Tensor, truth: Tensor, valid: Tensor) -> None:
        """Fit the weights by logistic regression on the pixels of B answers.

        Args:
            sam_logits: float (B, H, W), SAM's.
            srm_logits: float (B, g, g) or (B, H, W), maps of an SRM that has not seen the images.
            prompts: int64 (B,), t, the prompts after the initial pair.
            truth: float (B, H, W) in [0, 1], the foreground's fraction of each pixel.
            valid: float (B, H, W) in [0, 1], the labelled fraction of each pixel, which is its weight.
        """
        sam, srm, first = _terms(sam_logits, srm_logits, prompts)
        terms = torch.stack([sam, srm, torch.ones_like(sam)], dim=-1)
        terms = torch.cat([terms, terms * first[..., None]], dim=-1)
        # On the host, as a device may lack float64.
        seen = terms.flatten(0, -2).cpu().double()
        target, weight = truth.flatten().cpu().double(), valid.flatten().cpu().double()
        weight = weight / weight.sum().clamp(min=1e-6)
        unfitted = torch.tensor(_UNFITTED, dtype=torch.float64)
        found = unfitted.clone().requires_grad_()
        optimizer = torch.optim.LBFGS([found], max_iter=200, tolerance_change=1e-12, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimizer.zero_grad()
            entropy = F.binary_cross_entropy_with_logits(seen @ found.flatten(), target, weight, reduction="sum")
            total = entropy + _PENALTY / 2 * ((found - unfitted) ** 2).sum()
            total.backward()
            return total

        optimizer.step(loss)
        self.weights.copy_(found.detach())


def _terms(sam_logits: Tensor, srm_logits: Tensor, prompts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return both, clamped, at the answer's size (B, 4h, 4w), and 1 / (1 + t), (B, 1, 1)."""
    maps = resize_map(srm_logits, sam_logits.shape[-2:])
    first = 1 / (1 + prompts.to(sam_logits.dtype))
    return sam_logits.clamp(-SAM_LIMIT, SAM_LIMIT), maps.clamp(-SRM_LIMIT, SRM_LIMIT), first[:, None, None]


def expected_iou(logits: Tensor) -> Tensor:
    """Compute the IoU that B answers expect of themselves, were their probabilities right.

    Args:
        logits: float (B, h, w).

    Returns:
        float (B,) in [0, 1], the expected intersection over the expected union of the mask with the truth.
    """
    probability, mask = logits.sigmoid(), (logits > 0).float()
    overlap = (probability * mask).sum((1, 2))
    union = (probability + mask - probability * mask).sum((1, 2))
    return overlap / union.clamp(min=1e-6)
