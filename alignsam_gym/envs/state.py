"""The state of Eq. 4, formed in one place for the environment, the SRM and the agent."""

from __future__ import annotations

import torch
from torch import Tensor

STATES = ("product", "concat")
"""``product``: E(x) · M, the paper's. ``concat``: E(x), E(x) · M and M side by side, in which what SAM has
missed stays visible. [ours; env.state]"""


def form_state(kind: str, embeddings: Tensor, masks: Tensor) -> Tensor:
    """States (B, channels, h, w) from embeddings (B, C, h, w) and probabilities M (B, h, w)."""
    masks = masks[:, None]
    product = embeddings * masks
    return product if kind == "product" else torch.cat([embeddings, product, masks], dim=1)


def state_channels(kind: str, embedding_channels: int) -> int:
    """Channels of `form_state`'s result."""
    return embedding_channels if kind == "product" else 2 * embedding_channels + 1
