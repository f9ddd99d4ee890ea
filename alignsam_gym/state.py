"""The state s_t of Eq. 4, which the environment shows, and which the SRM and the agent see."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

StateKind = Literal["product", "concat", "guided"]
"""Kinds of state.

``product`` is the paper's: E(x) · M, SAM's embedding of the image times its mask. ``concat`` has E(x), E(x) · M and M
side by side, so that what SAM has missed stays visible. ``guided`` is for the agent: E(x) · M, M and the SRM's map side
by side, so that it can see where the SRM and SAM disagree; the SRM sees ``concat``. [ours; env.state]
"""


@dataclass(frozen=True)
class State:
    """The states of B images, before the embeddings are multiplied.

    The products are as large as SAM's embeddings, and `StateProjection` needs none of them.

    Attributes:
        embeddings: float (B, C, h, w), E(x).
        factors: float (B, K, h, w). The state has the product of the embeddings with each of the K factors.
        maps: float (B, L, h, w), further channels of the state.
    """

    embeddings: Tensor
    factors: Tensor
    maps: Tensor

    def __len__(self) -> int:
        return len(self.embeddings)

    def __getitem__(self, rows: Tensor | slice) -> State:
        return State(self.embeddings[rows], self.factors[rows], self.maps[rows])

    def split(self, size: int) -> list[State]:
        """Split the states into consecutive parts of at most `size`. No state gives one empty part, as in torch."""
        return [self[start : start + size] for start in range(0, max(1, len(self)), size)]

    def after_text(self, similarity: Tensor) -> State:
        """Return what an explicit branch sees: s_c = E(x) · M_c, and the state after it.

        Args:
            similarity: float (B, h, w), M_c, CLIP's map of the target's text.
        """
        return replace(self, factors=torch.cat([similarity[:, None], self.factors], dim=1))

    def formed(self) -> Tensor:
        """Return the states as float (B, K·C + L, h, w): the product with each factor, then the maps."""
        products = [self.embeddings * factor[:, None] for factor in self.factors.unbind(1)]
        return torch.cat([*products, self.maps], dim=1)


def make_state(kind: str, embeddings: Tensor, mask: Tensor, srm_map: Tensor) -> State:
    """Make the states of B images (Eq. 4).

    Args:
        kind: A `StateKind`.
        embeddings: float (B, C, h, w), E(x).
        mask: float (B, h, w) in [0, 1], M: SAM's probability of foreground.
        srm_map: float (B, h, w) in [0, 1], the SRM's. Only ``guided`` states have it.

    Returns:
        The states.
    """
    factors, maps = {
        "product": ([mask], []),
        "concat": ([torch.ones_like(mask), mask], [mask]),
        "guided": ([mask], [mask, srm_map]),
    }[kind]
    no_maps = mask[:, None][:, :0]
    return State(embeddings, torch.stack(factors, dim=1), torch.stack(maps, dim=1) if maps else no_maps)


def state_channels(kind: str, embedding_channels: int) -> int:
    """Return the number of channels of a state of a `StateKind`, once it is formed."""
    return {
        "product": embedding_channels,
        "concat": 2 * embedding_channels + 1,
        "guided": embedding_channels + 2,
    }[kind]


def srm_state(kind: str) -> str:
    """Return the kind of state that the SRM sees if the agent sees `kind`. The SRM never sees its own map. [ours]"""
    return "concat" if kind == "guided" else kind


class StateProjection(nn.Module):
    """A 1×1 convolution of states that does not form them: in every cell, W(E · M) = (W E) · M.

    Args:
        channels: Number of channels of a formed state.
        width: Number of output channels.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, width, 1)

    def forward(self, state: State) -> Tensor:
        """Return float (B, width, h, w), for B states."""
        weight, bias = self.convolution.weight, cast(Tensor, self.convolution.bias)
        count, channels = state.factors.shape[1], state.embeddings.shape[1]
        on_products, on_maps = weight.tensor_split([count * channels], dim=1)
        on_products = on_products.unflatten(1, (count, channels)).transpose(0, 1).flatten(0, 1)
        terms = F.conv2d(state.embeddings, on_products).unflatten(1, (count, -1))
        projected: Tensor = (terms * state.factors[:, :, None]).sum(1) + bias[:, None, None]
        return projected + F.conv2d(state.maps, on_maps) if state.maps.shape[1] else projected
