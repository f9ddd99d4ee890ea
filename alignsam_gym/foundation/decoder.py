"""SAM's prompt encoder and mask decoder over a batch of *different* images.

``segment_anything.MaskDecoder`` repeats one image for many prompts; it cannot decode several images at
once. `BatchedDecoder` runs the same modules, with the same weights, on one image embedding for each
prompt set. Prompt sets of different lengths are padded with label −1, and the padding is masked out of
every attention that could see it, so that each row equals ``SamPredictor`` on that image alone.

What follows from the weights alone, or from an image alone, is computed once: positions enter an image
token's keys and queries as a sum of projections, W(x + p) = Wx + Wp, and no prompt has touched the image
tokens yet when the first layer projects them.

SAM's successors paint their masks with finer features of the image besides. These travel with the embedding as
further channels of one record, `fold`ed to its resolution; a subclass says how many and what becomes of them.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer
from segment_anything.modeling.transformer import Attention
from torch import Tensor, nn
from torch.nn import functional as F

PADDING = -1
"""Label of a padded point."""

_ONEDNN = torch.backends.mkldnn.is_available()


class ImageTerms(NamedTuple):
    """An image's side of the decoder before any prompt: tokens and their first projections.

    tokens: float (B, h·w, C). keys, values, queries: float (B, h·w, c), the first layer's.
    details: float (B, h·w, D), the record's further channels; D is 0 for SAM.
    """

    tokens: Tensor
    keys: Tensor
    values: Tensor
    queries: Tensor
    details: Tensor


class BatchedDecoder:
    """The two modules at their present weights: make another when the weights have changed.

    Differentiable, unless made or used without gradients.

    details: D, how many channels a record has besides the embedding's. A subclass sets it, and adds the output
    tokens that its model has after SAM's.
    """

    details = 0

    def __init__(self, prompt_encoder: PromptEncoder, mask_decoder: MaskDecoder) -> None:
        self.prompt_encoder, self.mask_decoder = prompt_encoder, mask_decoder
        self.size = prompt_encoder.image_embedding_size
        transformer = mask_decoder.transformer
        self.output_tokens = torch.cat([mask_decoder.iou_token.weight, mask_decoder.mask_tokens.weight])
        positions = prompt_encoder.get_dense_pe().flatten(2).transpose(1, 2)
        self.offsets = [
            (_projected(layer.cross_attn_token_to_image.k_proj, positions), _projected(_back(layer).q_proj, positions))
            for layer in transformer.layers
        ]
        self.final_offset = _projected(transformer.final_attn_token_to_image.k_proj, positions)
        first, _, _, second, _ = mask_decoder.output_upscaling
        self.upscaling = (*_as_matrix(first), *_as_matrix(second))

    def read(self, records: Tensor, mask_input: Tensor | None = None) -> ImageTerms:
        """What decoding needs of B images.

        records: float (B, C + D, h, w), from the image encoder.
        mask_input: float (B, 1, 4h, 4w), low-resolution logits of an earlier answer, or None.
        """
        embeddings, details = records.tensor_split([self.prompt_encoder.embed_dim], dim=1)
        _, dense = self.prompt_encoder(points=None, boxes=None, masks=mask_input)
        return self._terms(_as_tokens(embeddings + dense), _as_tokens(details))

    def with_mask(self, image: ImageTerms, mask_input: Tensor) -> ImageTerms:
        """What `read` gives with `mask_input`, from what it gave without one."""
        _, dense = self.prompt_encoder(points=None, boxes=None, masks=mask_input)
        without = self.prompt_encoder.no_mask_embed.weight
        return self._terms(image.tokens + _as_tokens(dense) - without, image.details)

    def _terms(self, tokens: Tensor, details: Tensor) -> ImageTerms:
        layer = self.mask_decoder.transformer.layers[0]
        return ImageTerms(tokens, *_image_projections(layer, tokens, *self.offsets[0]), details)

    def decode(
        self,
        image: ImageTerms,
        points: Tensor,
        labels: Tensor,
        multimask_output: bool = False,
        boxes: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Decode B prompt sets, each on its own image (Eq. 2).

        image: from `read`.
        points: float (B, N, 2), (x, y) in pixels of the encoder's input.
        labels: int (B, N), 1 foreground, 0 background, −1 padding; N may be 0.
        boxes: float (B, 4), corners (x, y), (x, y), or None.

        Returns low-resolution logits (B, K, 4h, 4w) and predicted IoU (B, K); K is 3 if `multimask_output`,
        else 1.
        """
        with torch.autocast(points.device.type, enabled=False):  # positions need all their digits
            sparse, _ = self.prompt_encoder(points=(points, labels), boxes=boxes, masks=None)
        # After the points come a box's two corners, or the "not a point" token that SamPredictor, too, adds without.
        real = F.pad(labels != PADDING, (len(self.output_tokens), 1 if boxes is None else 2), value=True)
        visible = None if bool(real.all()) else real[:, None, None, :]
        return self.decode_tokens(image, sparse, visible, multimask_output)

    def decode_tokens(
        self, image: ImageTerms, sparse: Tensor, visible: Tensor | None = None, multimask_output: bool = False
    ) -> tuple[Tensor, Tensor]:
        """`decode` of what the prompt encoder has made of any prompts, boxes among them.

        sparse: float (B, n, C); n may be 0. visible: bool (B, 1, 1, output tokens + n), False where there is padding;
        None if there is none.
        """
        tokens = torch.cat([self.output_tokens.expand(sparse.shape[0], -1, -1), sparse], dim=1)
        transformer = self.mask_decoder.transformer
        hidden, pixels = _two_way(transformer, image, self.offsets, self.final_offset, tokens, visible)
        return self._answer(hidden, pixels, image.details, multimask_output)

    def _answer(self, hidden: Tensor, pixels: Tensor, details: Tensor, multimask_output: bool) -> tuple[Tensor, Tensor]:
        """`decode`'s result from output tokens (B, tokens, C), image tokens (B, h·w, C) and details (B, h·w, D)."""
        wanted = slice(1, None) if multimask_output else slice(1)
        masks = self._paint(self._upscale(pixels), self._kernels(hidden, wanted))
        return masks, self._iou(hidden)[:, wanted]

    def _iou(self, hidden: Tensor) -> Tensor:
        """Predicted IoU of each of the mask tokens, (B, tokens)."""
        return self.mask_decoder.iou_prediction_head(hidden[:, 0])

    def _kernels(self, hidden: Tensor, wanted: slice) -> Tensor:
        """What the wanted mask tokens multiply the upscaled pixels with, (B, K, c)."""
        networks = self.mask_decoder.output_hypernetworks_mlps
        return torch.stack([networks[k](hidden[:, 1 + k]) for k in range(len(networks))[wanted]], dim=1)

    def _upscale(self, pixels: Tensor, middle: Tensor | None = None, fine: Tensor | None = None) -> Tensor:
        """Pixels (B, h·w, C) at four times the resolution: (B, h·w·4·4, C/8), in the order of `fold`'s channels.

        middle, fine: what is added after each of the two convolutions, (B, h·w, 2·2·C/4) and (B, h·w, 4·4·C/8).
        """
        return _upscaled(self.mask_decoder.output_upscaling, self.upscaling, pixels, middle, fine)

    def _paint(self, upscaled: Tensor, kernels: Tensor) -> Tensor:
        """Masks (B, K, 4h, 4w): products of `kernels` (B, K, c) with the upscaled pixels (B, h·w·4·4, c)."""
        return self._as_map(upscaled @ kernels.transpose(1, 2))

    def _as_map(self, x: Tensor) -> Tensor:
        """Upscaled pixels (B, h·w·4·4, K) as they lie in the image: (B, K, 4h, 4w)."""
        height, width = self.size
        x = x.unflatten(1, (height, width, 2, 2, 2, 2)).permute(0, 7, 1, 3, 5, 2, 4, 6)
        return x.reshape(x.shape[0], -1, 4 * height, 4 * width)


def fold(x: Tensor) -> Tensor:
    """A map (B, c, 2h, 2w) at half its resolution, nothing lost: (B, 2·2·c, h, w).

    Twice, it gives (B, 2·2·2·2·c, h, w), the channels of a cell in the order in which the decoder upscales it.
    """
    x = x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).permute(0, 3, 5, 1, 2, 4)
    return x.flatten(1, 3)


def decode(
    prompt_encoder: PromptEncoder,
    mask_decoder: MaskDecoder,
    embeddings: Tensor,
    points: Tensor,
    labels: Tensor,
    mask_input: Tensor | None = None,
    multimask_output: bool = False,
) -> tuple[Tensor, Tensor]:
    """SAM's `BatchedDecoder.read` and `decode` in one call, for weights that change or images that come once."""
    decoder = BatchedDecoder(prompt_encoder, mask_decoder)
    return decoder.decode(decoder.read(embeddings, mask_input), points, labels, multimask_output)


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``F.linear`` for the large products. PyTorch sends float32 ones on a CPU to MKL, which leaves more than
    half of some processors' arithmetic unused; oneDNN, which it carries too, does not."""
    plain = x.dtype == weight.dtype == torch.float32 and not (torch.is_grad_enabled() or torch.compiler.is_compiling())
    if _ONEDNN and plain and x.device.type == "cpu" and not torch.is_autocast_enabled("cpu"):
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return F.linear(x, weight, bias)


def _projected(projection: nn.Linear, x: Tensor) -> Tensor:
    return _linear(x, projection.weight, projection.bias)


def _back(layer: nn.Module) -> Attention:
    return cast(Attention, layer.cross_attn_image_to_token)


def _image_projections(
    layer: nn.Module, tokens: Tensor, key_offset: Tensor, query_offset: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Image tokens as keys and values for the prompts, and as queries to them."""
    towards, back = cast(Attention, layer.cross_attn_token_to_image), _back(layer)
    keys = _linear(tokens, towards.k_proj.weight) + key_offset
    queries = _linear(tokens, back.q_proj.weight) + query_offset
    return keys, _projected(towards.v_proj, tokens), queries


def _attend(attention: Attention, q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None = None) -> Tensor:
    """``attention`` after its projections; keys that are not `visible` (B, 1, 1, keys) take no part."""
    q, k, v = (x.unflatten(2, (attention.num_heads, -1)).transpose(1, 2) for x in (q, k, v))
    if torch.is_grad_enabled() and q.dtype == torch.bfloat16 and q.device.type == "cpu":
        with torch.autocast("cpu", enabled=False):  # backwards, bfloat16 takes PyTorch's CPUs three times as long
            out = F.scaled_dot_product_attention(q.float(), k.float(), v.float(), attn_mask=visible)
    else:
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=visible)
    return _projected(attention.out_proj, out.transpose(1, 2).flatten(2))


def _two_way(
    transformer: TwoWayTransformer,
    image: ImageTerms,
    offsets: list[tuple[Tensor, Tensor]],
    final_offset: Tensor,
    tokens: Tensor,
    visible: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """``transformer`` with padded tokens masked out; returns prompt tokens and image tokens."""
    queries = tokens
    pixels, keys, values, image_queries, _ = image
    for number, layer in enumerate(transformer.layers):
        if number:
            keys, values, image_queries = _image_projections(layer, pixels, *offsets[number])
        attention = layer.self_attn
        q = queries if layer.skip_first_layer_pe else queries + tokens
        attended = _attend(attention, attention.q_proj(q), attention.k_proj(q), attention.v_proj(queries), visible)
        queries = layer.norm1(attended if layer.skip_first_layer_pe else queries + attended)
        attention = layer.cross_attn_token_to_image
        queries = layer.norm2(queries + _attend(attention, attention.q_proj(queries + tokens), keys, values))
        queries = layer.norm3(queries + layer.mlp(queries))
        attention = _back(layer)
        k, v = attention.k_proj(queries + tokens), attention.v_proj(queries)
        pixels = layer.norm4(pixels + _attend(attention, image_queries, k, v, visible))
    attention = transformer.final_attn_token_to_image
    keys = _linear(pixels, attention.k_proj.weight) + final_offset
    values = _projected(attention.v_proj, pixels)
    attended = _attend(attention, attention.q_proj(queries + tokens), keys, values)
    return transformer.norm_final_attn(queries + attended), pixels


def _upscaled(
    upscaling: nn.Sequential,
    matrices: tuple[Tensor, ...],
    pixels: Tensor,
    middle: Tensor | None = None,
    fine: Tensor | None = None,
) -> Tensor:
    """``upscaling`` of tokens. Its transposed convolutions have stride 2 and 2×2 kernels, so no two outputs overlap:
    each is one matrix product on the tokens as they lie, and only the finished masks are rearranged into pixels.
    """
    _, norm, activation, _, last_activation = cast(Any, upscaling)
    first, first_bias, second, second_bias = matrices
    x = _linear(pixels, first, first_bias)  # (B, h·w, 2·2·C/4)
    x = (x if middle is None else x + middle).unflatten(2, (4, -1))
    x = activation(F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps))
    x = _linear(x.flatten(1, 2), second, second_bias)  # (B, h·w·2·2, 2·2·C/8)
    x = last_activation(x if fine is None else x + fine.reshape(x.shape))
    return x.unflatten(2, (4, -1)).flatten(1, 2)


def _as_tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2).contiguous()


def _as_matrix(convolution: nn.ConvTranspose2d) -> tuple[Tensor, Tensor]:
    """Weight (4·c, C) and bias (4·c,) of the transposed convolution as a product; the 4 in row-major order."""
    assert convolution.bias is not None
    return convolution.weight.permute(2, 3, 1, 0).flatten(0, 2), convolution.bias.repeat(4)
