"""PerSAM's guidance of SAM's mask decoder (Zhang et al., arXiv 2305.03048)."""

from __future__ import annotations

from typing import Any

from segment_anything.modeling import TwoWayTransformer
from segment_anything.modeling.transformer import Attention
from torch import Tensor, nn


class GuidedTransformer(nn.Module):
    """The mask decoder's transformer, guided to a target.

    The target's features are added to the tokens before each layer and before the last attention ("target-semantic
    prompting"). The tokens attend more to where the image is similar to the target ("target-guided attention").

    Args:
        transformer: The decoder's own transformer. Its attentions to the image are replaced.
    """

    target: Tensor

    def __init__(self, transformer: TwoWayTransformer) -> None:
        super().__init__()
        self.plain = transformer
        for layer in transformer.layers:
            layer.cross_attn_token_to_image = GuidedAttention(layer.cross_attn_token_to_image)

    def set_target(self, target: Tensor, similarity: Tensor) -> None:
        """Set what to find in the next image.

        Args:
            target: float (C,), the target's features.
            similarity: float (h·w,) in [0, 1], how similar each cell of the image is to the target.
        """
        self.target = target
        for layer in self.plain.layers:
            layer.cross_attn_token_to_image.similarity = similarity

    def forward(self, image: Tensor, positions: Tensor, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Return the tokens and the image's features after all layers.

        Args:
            image: float (B, C, h, w), the image's features.
            positions: float (B, C, h, w), their positional encoding.
            prompts: float (B, n, C), the output tokens and the prompts' tokens.
        """
        keys, key_positions = (x.flatten(2).transpose(1, 2) for x in (image, positions))
        # The authors add the target in place, so that the tokens' own positions have it as well.
        queries = tokens = prompts + self.target
        for number, layer in enumerate(self.plain.layers):
            if number > 0:
                queries = queries + self.target
            queries, keys = layer(queries=queries, keys=keys, query_pe=tokens, key_pe=key_positions)
        attend: Any = self.plain.final_attn_token_to_image
        attended = attend(q=queries + tokens + self.target, k=keys + key_positions, v=keys)
        return self.plain.norm_final_attn(queries + attended), keys


class GuidedAttention(nn.Module):
    """An attention whose weights get the similarity to the target added, and go through a second softmax.

    Args:
        attention: SAM's own attention.
    """

    similarity: Tensor

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.plain = attention

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return float (B, n, C), for queries (B, n, C) and keys and values (B, h·w, C)."""
        plain: Any = self.plain
        projected = plain.q_proj(q), plain.k_proj(k), plain.v_proj(v)
        q, k, v = (x.unflatten(2, (plain.num_heads, -1)).transpose(1, 2) for x in projected)
        weights = (q @ k.transpose(2, 3) / q.shape[3] ** 0.5).softmax(-1)
        weights = (weights + self.similarity).softmax(-1)
        attended: Tensor = plain.out_proj((weights @ v).transpose(1, 2).flatten(2))
        return attended
