"""The state of Eq. 4, formed in one place for the environment, the SRM and the agent."""

from __future__ import annotations

import torch
from torch import Tensor

STATES = ("product", "concat", "guided")
"""``product``: E(x) · M, the paper's. ``concat``: E(x), E(x) · M and M side by side, in which what SAM has
missed stays visible. ``guided``: E(x) · M, M and the SRM's map side by side, in which it can also be told
where the SRM and SAM disagree. [ours; env.state]"""


def form_state(kind: str, embeddings: Tensor, masks: Tensor, guides: Tensor) -> Tensor:
    """States (B, channels, h, w) from embeddings (B, C, h, w), probabilities M and the SRM's (B, h, w)."""
    masks = masks[:, None]
    product = embeddings * masks
    match kind:
        case "concat":
            return torch.cat([embeddings, product, masks], dim=1)
        case "guided":
            return torch.cat([product, masks, guides[:, None]], dim=1)
    return product


def state_channels(kind: str, embedding_channels: int) -> int:
    """Channels of `form_state`'s result."""
    return {
        "product": embedding_channels,
        "concat": 2 * embedding_channels + 1,
        "guided": embedding_channels + 2,
    }[kind]


def srm_state(kind: str) -> str:
    """The kind of state that the SRM sees: the agent's, but never its own map."""
    return "product" if kind == "guided" else kind
