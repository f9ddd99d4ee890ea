"""The networks V and K of the semantic recalibration module (§3.3, Eq. 12)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


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


class ExplicitBranch(nn.Module):
    """V(s_c, s_t) and the head (§3.3): three convolutions over both states, self-attention, two convolutions.

    The paper gives no sizes: blocks as in `ImplicitBranch`, attention of four heads over all cells with a residual
    connection, and the second of the last two convolutions is the head. [ours: `width`]

    Input: s_c and s_t stacked, float (B, channels, h, w). Output: logits (B, h, w).
    """

    heads = 4

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(_block(channels, width), _block(width, width), _block(width, width))
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.decode = nn.Sequential(_block(width, width), nn.Conv2d(width, 1, 3, padding=1))

    def forward(self, states: Tensor) -> Tensor:
        x = self.blocks(states)
        return self.decode(x + self._attend(x))[:, 0]

    def _attend(self, x: Tensor) -> Tensor:
        tokens = self.norm(x.flatten(2).transpose(1, 2))
        query, key, value = self.project(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        return self.mix(mixed).transpose(1, 2).unflatten(2, x.shape[2:])


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.GroupNorm(8, outputs), nn.ReLU())


BRANCHES: dict[str, type[ImplicitBranch] | type[ExplicitBranch]] = {
    "implicit": ImplicitBranch,
    "explicit": ExplicitBranch,
}
