"""PerSAM's guidance of SAM's mask decoder (Zhang et al., arXiv 2305.03048)."""

from __future__ import annotations

from typing import Any

from segment_anything.modeling import TwoWayTransformer
from segment_anything.modeling.transformer import Attention
from torch import Tensor, nn


class GuidedTransformer(nn.Module):
    """The decoder's transformer, led to the target: its features are added to the tokens before each layer and before
    the last attention ("target-semantic prompting"), and the tokens' attention to the image is drawn to where it is
    likely ("target-guided attention").
    """

    target: Tensor

    def __init__(self, transformer: TwoWayTransformer) -> None:
        super().__init__()
        self.plain = transformer
        for layer in transformer.layers:
            layer.cross_attn_token_to_image = GuidedAttention(layer.cross_attn_token_to_image)

    def set_target(self, target: Tensor, likeness: Tensor) -> None:
        """What to find in the next image, (C), and how likely it is where, float (h·w) in [0, 1]."""
        self.target = target
        for layer in self.plain.layers:
            layer.cross_attn_token_to_image.likeness = likeness

    def forward(self, image: Tensor, positions: Tensor, prompts: Tensor) -> tuple[Tensor, Tensor]:
        keys, key_positions = (x.flatten(2).transpose(1, 2) for x in (image, positions))
        # The authors add the target in place, so that the tokens' own positions have it as well.
        queries = tokens = prompts + self.target
        for number, layer in enumerate(self.plain.layers):
            queries = queries + self.target if number else queries
            queries, keys = layer(queries=queries, keys=keys, query_pe=tokens, key_pe=key_positions)
        attend: Any = self.plain.final_attn_token_to_image
        attended = attend(q=queries + tokens + self.target, k=keys + key_positions, v=keys)
        return self.plain.norm_final_attn(queries + attended), keys


class GuidedAttention(nn.Module):
    """An attention whose weights have the likeness added, and go through a softmax again."""

    likeness: Tensor

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.plain = attention

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        plain: Any = self.plain
        projected = plain.q_proj(q), plain.k_proj(k), plain.v_proj(v)
        q, k, v = (x.unflatten(2, (plain.num_heads, -1)).transpose(1, 2) for x in projected)
        weights = (q @ k.transpose(2, 3) / q.shape[3] ** 0.5).softmax(-1)
        weights = (weights + self.likeness).softmax(-1)
        return plain.out_proj((weights @ v).transpose(1, 2).flatten(2))
