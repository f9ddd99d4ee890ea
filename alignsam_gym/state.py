"""The state s_t of Eq. 4, which the environment shows, and which the SRM and the agent see."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alignsam_gym.rows import index_on

StateKind = Literal["product", "concat", "guided"]
"""Kinds of state.

``product`` is the paper's: E(x) · M, SAM's embedding of the image times its mask. ``concat`` has E(x), E(x) · M and M
side by side, so that what SAM has missed stays visible. ``guided`` is for the agent: E(x) · M, M and the SRM's map side
by side, so that it can see where the SRM and SAM disagree; the SRM sees ``concat``. [ours; env.state]
"""


@dataclass(frozen=True)
class State:
    """B states, before the embeddings are multiplied.

    The products are as large as SAM's embeddings, and `StateProjection` needs none of them. Nor does it need copies:
    some of the states share the embeddings of all.

    Attributes:
        embeddings: float (N, C, h, w), E(x) of N images.
        factors: float (B, K, h, w). The state has the product of the embeddings with each of the K factors.
        maps: float (B, L, h, w), further channels of the state.
        rows: int64 (B,), on the CPU, the place of each state's image among the N; None where state i is of image i.
        channel_gains: float (B, C), what the channels of each state's embedding are multiplied by; None for 1.
    """

    embeddings: Tensor
    factors: Tensor
    maps: Tensor
    rows: Tensor | None = None
    channel_gains: Tensor | None = None

    def __len__(self) -> int:
        return len(self.factors)

    def __getitem__(self, chosen: Tensor) -> State:
        """Return some of the states, int64 (n,), on the CPU."""
        there = index_on(self.factors.device, chosen)
        factors, maps = self.factors[there], self.maps[there]
        channel_gains = None if self.channel_gains is None else self.channel_gains[there]
        if self.rows is None and isinstance(there, slice):
            return State(self.embeddings[there], factors, maps, None, channel_gains)
        return State(self.embeddings, factors, maps, chosen if self.rows is None else self.rows[chosen], channel_gains)

    def after_text(self, similarity: Tensor) -> State:
        """Return what an explicit branch sees: s_c = E(x) · M_c, and the state after it.

        Args:
            similarity: float (B, h, w), M_c, CLIP's map of the target's text.
        """
        return replace(self, factors=torch.cat([similarity[:, None], self.factors], dim=1))

    def formed(self) -> Tensor:
        """Return the states as float (B, K·C + L, h, w): the product with each factor, then the maps."""
        embeddings = self.gathered()
        products = [embeddings * factor[:, None] for factor in self.factors.unbind(1)]
        return torch.cat([*products, self.maps], dim=1)

    def gathered(self) -> Tensor:
        """Return the embedding of each state, its channels multiplied, float (B, C, h, w)."""
        embeddings = self.embeddings
        if self.rows is not None:
            embeddings = embeddings[index_on(embeddings.device, self.rows)]
        return embeddings if self.channel_gains is None else embeddings * self.channel_gains[:, :, None, None]


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


def make_srm_state(
    kind: str, semantics: Tensor, mask: Tensor, rows: Tensor | None = None, similarity: Tensor | None = None
) -> State:
    """Make the states that the SRM sees of B images if the agent sees `kind`.

    Args:
        kind: A `StateKind`.
        semantics: float (N, F, h, w), what stands in the place of E(x) (`SRMConfig.features`).
        mask: float (B, h, w) in [0, 1], M.
        rows: As `State.rows`.
        similarity: float (B, h, w) in [0, 1], M_c, of which an explicit branch sees s_c before s_t; None for an
            implicit one.
    """
    state = replace(make_state(srm_state(kind), semantics, mask, mask), rows=rows)
    return state if similarity is None else state.after_text(similarity)


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
        weight, bias = self.convolution.weight[..., 0, 0], cast(Tensor, self.convolution.bias)
        count = state.factors.shape[1]
        *on_products, on_maps = weight.split([state.embeddings.shape[1]] * count + [state.maps.shape[1]], dim=1)
        terms = _convolved(state, torch.cat(on_products)).unflatten(1, (count, -1))
        projected: Tensor = bias[:, None, None] + sum(
            term * factor[:, None] for term, factor in zip(terms.unbind(1), state.factors.unbind(1), strict=True)
        )
        for channel, values in zip(on_maps.unbind(1), state.maps.unbind(1), strict=True):
            projected = projected + channel[:, None, None] * values[:, None]
        return projected


def _convolved(state: State, weight: Tensor) -> Tensor:
    """Multiply the embedding of each of B states by `weight`, float (n, C): float (B, n, h, w).

    On a CPU to copy the embeddings of some images would take as long as to multiply them, so it goes image by image.
    """
    together = state.rows is None and state.channel_gains is None
    if together or not state.embeddings.is_cpu:
        return F.conv2d(state.gathered(), weight[..., None, None])
    rows = range(len(state)) if state.rows is None else state.rows.tolist()
    channel_gains = state.channel_gains
    weights = [weight] * len(state) if channel_gains is None else (weight * channel_gains[:, None]).unbind(0)
    cells = state.embeddings.flatten(2).transpose(1, 2)
    products = torch.stack([F.linear(cells[row], weight) for row, weight in zip(rows, weights, strict=True)])
    convolved: Tensor = products.transpose(1, 2).unflatten(2, state.embeddings.shape[2:])
    return convolved
