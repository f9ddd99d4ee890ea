"""The state of Eq. 4, for the environment, the SRM and the agent alike."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STATES = ("product", "concat", "guided")
"""``product``: E(x) · M, the paper's. ``concat``: E(x), E(x) · M and M side by side, in which what SAM has
missed stays visible. ``guided``: the agent sees E(x) · M, M and the SRM's map side by side, in which it can also be
told where the SRM and SAM disagree; the SRM sees ``concat``. [ours; env.state]"""


@dataclass(frozen=True)
class State:
    """States of B rows, not multiplied out: a linear layer need not see a product that is as large as SAM's embedding.

    embeddings: float (B, C, h, w), E(x). factors: float (B, K, h, w), what multiplies it, each in turn.
    maps: float (B, L, h, w), channels beside the products.
    """

    embeddings: Tensor
    factors: Tensor
    maps: Tensor

    def __len__(self) -> int:
        return len(self.embeddings)

    def __getitem__(self, rows: Tensor | slice) -> State:
        return State(*(getattr(self, part.name)[rows] for part in fields(self)))

    def split(self, size: int) -> list[State]:
        """Consecutive parts of at most `size` rows; as `Tensor.split`, one empty part of nothing."""
        return [self[start : start + size] for start in range(0, max(1, len(self)), size)]

    def after_text(self, similarity: Tensor) -> State:
        """What an explicit branch sees, s_c = E(x) · M_c before s_t: M_c, float (B, h, w), is the first factor."""
        return replace(self, factors=torch.cat([similarity[:, None], self.factors], dim=1))

    def formed(self) -> Tensor:
        """float (B, K·C + L, h, w): each product, then the maps."""
        products = [self.embeddings * factor[:, None] for factor in self.factors.unbind(1)]
        return torch.cat([*products, self.maps], dim=1)


def make_state(kind: str, embeddings: Tensor, mask: Tensor, srm_map: Tensor) -> State:
    """A state of one of `STATES`, from embeddings (B, C, h, w), probabilities M and the SRM's (B, h, w)."""
    parts = {
        "product": ([mask], []),
        "concat": ([torch.ones_like(mask), mask], [mask]),
        "guided": ([mask], [mask, srm_map]),
    }
    factors, maps = parts[kind]
    return State(embeddings, torch.stack(factors, dim=1), torch.stack(maps, dim=1) if maps else mask[:, None][:, :0])


def state_channels(kind: str, embedding_channels: int) -> int:
    """Channels of a state, once it is formed."""
    return {
        "product": embedding_channels,
        "concat": 2 * embedding_channels + 1,
        "guided": embedding_channels + 2,
    }[kind]


def srm_state(kind: str) -> str:
    """The kind of state that the SRM sees: the agent's, but never its own map, and instead what SAM missed. [ours]"""
    return "concat" if kind == "guided" else kind


class StateProjection(nn.Module):
    """A 1×1 convolution of states that never forms them: W(E · M) = (W E) · M in every cell.

    channels: of the formed state. Input: B states. Output: float (B, width, h, w).
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, width, 1)

    def forward(self, state: State) -> Tensor:
        weight, bias = self.convolution.weight, cast(Tensor, self.convolution.bias)
        count, channels = state.factors.shape[1], state.embeddings.shape[1]
        on_products, on_maps = weight.tensor_split([count * channels], dim=1)
        on_products = on_products.unflatten(1, (count, channels)).transpose(0, 1).flatten(0, 1)
        terms = F.conv2d(state.embeddings, on_products).unflatten(1, (count, -1))
        projected = (terms * state.factors[:, :, None]).sum(1) + bias[:, None, None]
        return projected + F.conv2d(state.maps, on_maps) if state.maps.shape[1] else projected
