"""The networks V and K of the semantic recalibration module (§3.3, Eq. 12)."""

from __future__ import annotations

from torch import Tensor, nn


class ImplicitBranch(nn.Module):
    """V(∅, s_t) and the head: two convolution blocks, then one logit for each cell of the embedding.

    The paper gives no sizes; a block is a 3×3 convolution, group normalisation and ReLU. [ours: `width`]

    Input: state float (B, channels, h, w). Output: logits (B, h, w).
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(_block(channels, width), _block(width, width))
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, state: Tensor) -> Tensor:
        return self.head(self.blocks(state))[:, 0]


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.GroupNorm(8, outputs), nn.ReLU())
