"""The networks V and K of the semantic recalibration module (§3.3, Eq. 12)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from alignsam_gym.state import State, StateProjection

NORM_GROUPS = 8
"""Groups of group normalisation. They divide a branch's width."""


class ImplicitBranch(nn.Module):
    """V(∅, s_t) and the head: convolution blocks, then one logit for each cell of the embedding.

    The paper has two blocks and gives no sizes. The state is projected to `width` channels first; a block is a 3×3
    convolution, group normalisation and ReLU. With n dilated blocks a logit depends on 2ⁿ⁺¹ − 1 cells a side, with n
    others on 2n + 1. [ours: `width`, `blocks`, `dilated`]

    Args:
        channels: Channels of the states.
        width: Channels of a block, a multiple of `NORM_GROUPS`.
        blocks: The number of blocks.
        dilated: Whether the dilation doubles from block to block: 1, 2, 4, ….
    """

    def __init__(self, channels: int, width: int, blocks: int = 2, dilated: bool = False) -> None:
        super().__init__()
        self.project = StateProjection(channels, width)
        self.blocks = nn.Sequential(*(_block(width, 2**number if dilated else 1) for number in range(blocks)))
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, state: State) -> Tensor:
        """Draw logits, float (B, h, w), of B states s_t."""
        logits: Tensor = self.head(self.blocks(self.project(state)))
        return logits[:, 0]


class ExplicitBranch(nn.Module):
    """V(s_c, s_t) and the head (§3.3): three convolutions over both states, self-attention, two convolutions.

    The paper gives no sizes. The first of the three convolutions is 1×1, from both states to `width` channels; the
    others are 3×3; group normalisation and ReLU follow each. Every cell attends, with four heads and a residual
    connection, to the means of 4 × 4 cells, as attention among all would cost more than SAM's decoder. The second of
    the last two convolutions is the head. [ours: `width`]

    Args:
        channels: Channels of s_c and s_t together.
        width: Channels of a block, a multiple of `NORM_GROUPS`.
    """

    heads = 4
    stride = 4

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.project = StateProjection(channels, width)
        self.blocks = nn.Sequential(*_activation(width), _block(width), _block(width))
        self.norm = nn.LayerNorm(width)
        self.query, self.key, self.value, self.mix = (nn.Linear(width, width) for _ in range(4))
        self.decode = nn.Sequential(_block(width), nn.Conv2d(width, 1, 3, padding=1))

    def forward(self, state: State) -> Tensor:
        """Draw logits, float (B, h, w), of B states in which s_c comes before s_t."""
        x: Tensor = self.blocks(self.project(state))
        logits: Tensor = self.decode(x + self._attend(x))
        return logits[:, 0]

    def _attend(self, x: Tensor) -> Tensor:
        fine = self._tokens(x)
        coarse = self._tokens(F.avg_pool2d(x, self.stride, ceil_mode=True))
        query, key, value = (
            tokens.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for tokens in (self.query(fine), self.key(coarse), self.value(coarse))
        )
        attended = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        mixed: Tensor = self.mix(attended)
        return mixed.transpose(1, 2).reshape(x.shape)

    def _tokens(self, x: Tensor) -> Tensor:
        tokens: Tensor = self.norm(x.flatten(2).transpose(1, 2))
        return tokens


def _block(width: int, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation), *_activation(width))


def _activation(width: int) -> tuple[nn.Module, nn.Module]:
    return nn.GroupNorm(NORM_GROUPS, width), nn.ReLU()


BRANCHES: dict[str, type[ImplicitBranch] | type[ExplicitBranch]] = {
    "implicit": ImplicitBranch,
    "explicit": ExplicitBranch,
}
"""The branches by their names in ``env.branch``."""
