"""SAM's prompt encoder and mask decoder over a batch of *different* images.

``segment_anything.MaskDecoder`` repeats one image for many prompts; it cannot decode several images at
once. The functions here run the same modules, with the same weights, on one image embedding for each
prompt set. Prompt sets of different lengths are padded with label −1, and the padding is masked out of
every attention that could see it, so that each row equals ``SamPredictor`` on that image alone.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer
from segment_anything.modeling.transformer import Attention
from torch import Tensor, nn
from torch.nn import functional as F

PADDING = -1
"""Label of a padded point."""


def decode(
    prompt_encoder: PromptEncoder,
    mask_decoder: MaskDecoder,
    embeddings: Tensor,
    points: Tensor,
    labels: Tensor,
    mask_input: Tensor | None = None,
    multimask_output: bool = False,
) -> tuple[Tensor, Tensor]:
    """Decode B prompt sets, each on its own image (Eq. 2).

    embeddings: float (B, C, h, w), from the image encoder.
    points: float (B, N, 2), (x, y) in pixels of the encoder's input.
    labels: int (B, N), 1 foreground, 0 background, −1 padding; N may be 0.
    mask_input: float (B, 1, 4h, 4w), low-resolution logits of an earlier answer, or None.

    Returns low-resolution logits (B, K, 4h, 4w) and predicted IoU (B, K); K is 3 if `multimask_output`,
    else 1.
    """
    sparse, dense = prompt_encoder(points=(points, labels), boxes=None, masks=mask_input)
    if mask_input is None:
        dense = dense[:1]  # the same for every row: left to broadcasting
    output_tokens = torch.cat([mask_decoder.iou_token.weight, mask_decoder.mask_tokens.weight])
    tokens = torch.cat([output_tokens.expand(len(embeddings), -1, -1), sparse], dim=1)
    # After the points comes the one "not a point" token that SamPredictor, too, adds when there is no box.
    real = F.pad(labels != PADDING, (len(output_tokens), 1), value=True)
    visible = None if bool(real.all()) else real[:, None, None, :]

    positions = prompt_encoder.get_dense_pe().flatten(2).transpose(1, 2)
    hidden, image = _two_way(mask_decoder.transformer, embeddings + dense, positions, tokens, visible)
    iou = mask_decoder.iou_prediction_head(hidden[:, 0])
    wanted = range(1, mask_decoder.num_mask_tokens) if multimask_output else range(1)
    kernels = torch.stack([mask_decoder.output_hypernetworks_mlps[k](hidden[:, 1 + k]) for k in wanted], dim=1)
    masks = _paint(mask_decoder.output_upscaling, image, kernels, embeddings.shape[-2:])
    return masks, iou[:, wanted.start : wanted.stop]


def _attend(attention: Attention, q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None = None) -> Tensor:
    """``attention(q, k, v)`` in which keys that are not `visible` (B, 1, 1, keys) take no part."""

    def heads(x: Tensor) -> Tensor:
        return x.unflatten(2, (attention.num_heads, -1)).transpose(1, 2)

    q, k, v = heads(attention.q_proj(q)), heads(attention.k_proj(k)), heads(attention.v_proj(v))
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(2, 3)
    if visible is not None:
        scores = scores.masked_fill(~visible, float("-inf"))
    out = scores.softmax(-1) @ v
    return attention.out_proj(out.transpose(1, 2).flatten(2))


def _two_way(
    transformer: TwoWayTransformer, image: Tensor, positions: Tensor, tokens: Tensor, visible: Tensor | None
) -> tuple[Tensor, Tensor]:
    """``transformer(image, positions, tokens)`` with padded tokens masked out."""
    keys = image.flatten(2).transpose(1, 2)
    queries = tokens
    for layer in transformer.layers:
        q = queries if layer.skip_first_layer_pe else queries + tokens
        attended = _attend(layer.self_attn, q, q, queries, visible)
        queries = layer.norm1(attended if layer.skip_first_layer_pe else queries + attended)
        placed_keys = keys + positions
        attended = _attend(layer.cross_attn_token_to_image, queries + tokens, placed_keys, keys)
        queries = layer.norm2(queries + attended)
        queries = layer.norm3(queries + layer.mlp(queries))
        attended = _attend(layer.cross_attn_image_to_token, placed_keys, queries + tokens, queries, visible)
        keys = layer.norm4(keys + attended)
    attended = _attend(transformer.final_attn_token_to_image, queries + tokens, keys + positions, keys)
    return transformer.norm_final_attn(queries + attended), keys


def _paint(upscaling: nn.Sequential, image: Tensor, kernels: Tensor, size: torch.Size) -> Tensor:
    """Masks (B, K, 4h, 4w) as products of `kernels` (B, K, c) with the upscaled `image` (B, h·w, C).

    The transposed convolutions have stride 2 and 2×2 kernels, so no two outputs overlap: each is one matrix
    product on the tokens as they lie, and only the finished masks are rearranged into pixels.
    """
    first, norm, activation, second, last_activation = cast(Any, upscaling)
    x = _unfold(first, image)  # (B, h·w, 2·2, c₁)
    x = activation(F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps))
    x = last_activation(_unfold(second, x.flatten(1, 2)))  # (B, h·w·2·2, 2·2, c)
    masks = x.flatten(1, 2) @ kernels.transpose(1, 2)
    masks = masks.unflatten(1, (*size, 2, 2, 2, 2)).permute(0, 7, 1, 3, 5, 2, 4, 6)
    return masks.reshape(len(image), -1, 4 * size[0], 4 * size[1])


def _unfold(convolution: nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """``convolution`` on channels-last tokens (B, L, C) -> (B, L, 4, c), the 4 in row-major order."""
    weight = convolution.weight.permute(0, 2, 3, 1).flatten(1)
    return (x @ weight).unflatten(2, (4, -1)) + convolution.bias
