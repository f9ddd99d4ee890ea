"""SAM's prompt encoder and mask decoder on a batch of *different* images.

``segment_anything.MaskDecoder`` repeats one image for many prompts; it cannot decode several images at once.
`BatchedDecoder` runs the same modules, with the same weights, on one image embedding for each prompt set. Prompt sets
of different lengths are padded with label −1. Every attention that could see the padding masks it out, so each row
equals ``SamPredictor`` on that image alone.

Whatever depends on the weights alone, or on the image alone, is computed once. The positional encoding p enters the
keys and queries of an image token x as a sum of projections, W(x + p) = Wx + Wp, and Wp is constant. The first layer
projects image tokens that no prompt has changed yet, so these projections belong to the image.

SAM-HQ and SAM 2.1 also use high-resolution features of the image to draw their masks. `space_to_depth` brings these
features to the embedding's resolution, and they follow the embedding as further channels of the same encoding. A
subclass of `BatchedDecoder` says how many channels there are and how they are used.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer
from segment_anything.modeling.transformer import Attention
from torch import Tensor, nn
from torch.nn import functional as F

PADDING = -1
"""The label of a point that only pads a prompt set."""

_ONEDNN = torch.backends.mkldnn.is_available()


class PreparedImage(NamedTuple):
    """All that decoding needs of B images and that no point changes.

    Attributes:
        tokens: float (B, h·w, C). The embedding plus the dense prompt, one token for each cell, row by row.
        keys: float (B, h·w, c). The tokens as keys of the first layer's token-to-image attention.
        values: float (B, h·w, c). The tokens as values of the same attention.
        queries: float (B, h·w, c). The tokens as queries of the first layer's image-to-token attention.
        high_res_features: float (B, h·w, D). The encoding's channels after the embedding; D is 0 for SAM.
    """

    tokens: Tensor
    keys: Tensor
    values: Tensor
    queries: Tensor
    high_res_features: Tensor


class BatchedDecoder:
    """Runs a prompt encoder and a mask decoder on B images and B prompt sets at once.

    It copies some weights when it is made, so make a new one after the weights have changed. Gradients flow to the
    weights and to the encodings, unless it is made or used under ``torch.no_grad``.

    A subclass for another model sets `high_res_channels`, appends that model's own tokens to `output_tokens`, and
    overrides `_answer`.

    Args:
        prompt_encoder: SAM's, with `embed_dim` C and `image_embedding_size` (h, w).
        mask_decoder: The mask decoder that belongs to it.

    Attributes:
        high_res_channels: D, the number of an encoding's channels after the embedding's C. It is 0 for SAM.
        output_tokens: float (n, C). The learned tokens that stand before the prompts: the IoU token, the mask tokens,
            and those that a subclass appends.
        size: (h, w) of the embedding.
    """

    high_res_channels = 0

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

    def prepare_image(self, encodings: Tensor, mask_input: Tensor | None = None) -> PreparedImage:
        """Compute what decoding needs of B images.

        Args:
            encodings: float (B, C + D, h, w), from the image encoder.
            mask_input: float (B, 1, 4h, 4w), low-resolution logits of an earlier answer, as SAM's dense prompt. None
                for no such prompt.

        Returns:
            The B images, for any number of calls of `decode`.
        """
        embeddings, high_res_features = encodings.tensor_split([self.prompt_encoder.embed_dim], dim=1)
        _, dense = self.prompt_encoder(points=None, boxes=None, masks=mask_input)
        tokens, layer = _as_tokens(embeddings + dense), self.mask_decoder.transformer.layers[0]
        projections = _image_projections(layer, tokens, *self.offsets[0])
        return PreparedImage(tokens, *projections, _as_tokens(high_res_features))

    def decode(
        self,
        image: PreparedImage,
        points: Tensor,
        labels: Tensor,
        multimask_output: bool = False,
        boxes: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Decode B prompt sets, each on its own image (Eq. 2).

        Args:
            image: B images, from `prepare_image`.
            points: float (B, N, 2), (x, y) in pixels of the image encoder's input. N may be 0.
            labels: int (B, N), 1 foreground, 0 background, −1 padding.
            multimask_output: Whether to answer with SAM's K = 3 masks for ambiguous prompts instead of its K = 1.
            boxes: float (B, 4), each box as its upper left and lower right corner (x, y), (x, y), in pixels of the
                image encoder's input; None for no boxes.

        Returns:
            Low-resolution logits (B, K, 4h, 4w), positive in the mask, and predicted IoU (B, K).
        """
        with torch.autocast(points.device.type, enabled=False):  # positions need all their digits
            sparse = self.embed_prompts(points, labels, boxes)
        # After the points come the two corners of a box, or the "not a point" token that SamPredictor, too, adds.
        real = F.pad(labels != PADDING, (len(self.output_tokens), 1 if boxes is None else 2), value=True)
        # Without padding a CPU attends faster. To ask whether there is some, one would have to wait for another device.
        visible = None if real.is_cpu and bool(real.all()) else real[:, None, None, :]
        return self.decode_tokens(image, sparse, visible, multimask_output)

    def embed_prompts(self, points: Tensor, labels: Tensor, boxes: Tensor | None = None) -> Tensor:
        """Turn prompts, as `decode` takes them, into tokens, float (B, n, C), equal to those of `prompt_encoder`.

        `prompt_encoder` selects the points of each label with a boolean mask, so the host waits to learn how many there
        are. This looks each token up by its label instead.
        """
        encoder = self.prompt_encoder
        points = points + 0.5  # from pixels' corners to their centres
        if boxes is None:
            points, labels = F.pad(points, (0, 0, 0, 1)), F.pad(labels, (0, 1), value=PADDING)
        positions = encoder.pe_layer.forward_with_coords(points, encoder.input_image_size)
        kinds = [encoder.not_a_point_embed, *encoder.point_embeddings[:2]]  # of PADDING = −1, 0 and 1
        tokens = positions * (labels != PADDING)[..., None] + torch.cat([kind.weight for kind in kinds])[labels + 1]
        return tokens if boxes is None else torch.cat([tokens, encoder._embed_boxes(boxes)], dim=1)

    def decode_tokens(
        self, image: PreparedImage, sparse: Tensor, visible: Tensor | None = None, multimask_output: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Decode prompts of any kind that the prompt encoder has already turned into tokens.

        Args:
            image: B images, from `prepare_image`.
            sparse: float (B, n, C), the prompt tokens; n may be 0.
            visible: bool (B, 1, 1, output tokens + n), False where a token is padding. None if there is no padding.
            multimask_output: As for `decode`.

        Returns:
            Logits (B, K, 4h, 4w) and predicted IoU (B, K), as from `decode`.
        """
        tokens = torch.cat([self.output_tokens.expand(sparse.shape[0], -1, -1), sparse], dim=1)
        transformer = self.mask_decoder.transformer
        hidden, pixels = _two_way(transformer, image, self.offsets, self.final_offset, tokens, visible)
        return self._answer(hidden, pixels, image.high_res_features, multimask_output)

    def _answer(
        self, hidden: Tensor, pixels: Tensor, high_res_features: Tensor, multimask_output: bool
    ) -> tuple[Tensor, Tensor]:
        """Turn the transformer's output into masks; a subclass for another model overrides this.

        Args:
            hidden: float (B, output tokens + n, C), output tokens first, then prompt tokens.
            pixels: float (B, h·w, C), image tokens.
            high_res_features: float (B, h·w, D), as in `PreparedImage`.
            multimask_output: As for `decode`.

        Returns:
            Logits (B, K, 4h, 4w) and predicted IoU (B, K).
        """
        wanted = wanted_masks(multimask_output)
        masks = self._paint(self._upscale(pixels), self._kernels(hidden, wanted))
        return masks, self._iou(hidden)[:, wanted]

    def _iou(self, hidden: Tensor) -> Tensor:
        """Predict the IoU of each mask token's mask: (B, mask tokens)."""
        return cast(Tensor, self.mask_decoder.iou_prediction_head(hidden[:, 0]))

    def _kernels(self, hidden: Tensor, wanted: slice) -> Tensor:
        """Return the vectors with which the wanted mask tokens multiply the upscaled pixels: (B, K, C/8)."""
        networks = self.mask_decoder.output_hypernetworks_mlps
        return torch.stack([networks[k](hidden[:, 1 + k]) for k in range(len(networks))[wanted]], dim=1)

    def _upscale(self, pixels: Tensor, middle: Tensor | None = None, fine: Tensor | None = None) -> Tensor:
        """Bring image tokens to four times the embedding's resolution.

        Args:
            pixels: float (B, h·w, C), image tokens.
            middle: float (B, h·w, 2·2·C/4), added after the first convolution, or None.
            fine: float (B, h·w, 4·4·C/8), added after the second convolution, or None.

        Returns:
            float (B, h·w·4·4, C/8), the pixels of a cell together, in the order of `space_to_depth`'s channels.
        """
        return _upscaled(self.mask_decoder.output_upscaling, self.upscaling, pixels, middle, fine)

    def _paint(self, upscaled: Tensor, kernels: Tensor) -> Tensor:
        """Multiply upscaled pixels (B, h·w·4·4, c) with kernels (B, K, c) to logits (B, K, 4h, 4w)."""
        return self._as_map(upscaled @ kernels.transpose(1, 2))

    def _as_map(self, x: Tensor) -> Tensor:
        """Rearrange upscaled pixels (B, h·w·4·4, K) as they lie in the image: (B, K, 4h, 4w)."""
        height, width = self.size
        x = x.unflatten(1, (height, width, 2, 2, 2, 2)).permute(0, 7, 1, 3, 5, 2, 4, 6)
        return x.reshape(x.shape[0], -1, 4 * height, 4 * width)


def wanted_masks(multimask_output: bool) -> slice:
    """Tell which of SAM's mask tokens answer: all but the first, or the first alone."""
    return slice(1, None) if multimask_output else slice(1)


def space_to_depth(x: Tensor) -> Tensor:
    """Halve a map's resolution by moving each 2 × 2 block of pixels into the channels.

    Args:
        x: (B, c, 2h, 2w).

    Returns:
        (B, 2·2·c, h, w): the c channels of the block's first pixel, then those of the second, row by row. Applied
        twice, it puts the 4 × 4 pixels of a cell into the order in which the decoder upscales the cell.
    """
    x = x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).permute(0, 3, 5, 1, 2, 4)
    return x.flatten(1, 3)


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute ``F.linear`` of large inputs, on a CPU in float32 by oneDNN.

    PyTorch would give these products to MKL, which on some processors uses less than half of their arithmetic.
    """
    plain = x.dtype == weight.dtype == torch.float32 and not (torch.is_grad_enabled() or torch.compiler.is_compiling())
    if _ONEDNN and plain and x.device.type == "cpu" and not torch.is_autocast_enabled("cpu"):
        return cast(Tensor, torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], ""))
    return F.linear(x, weight, bias)


def _projected(projection: nn.Linear, x: Tensor) -> Tensor:
    return _linear(x, projection.weight, projection.bias)


def _back(layer: nn.Module) -> Attention:
    return cast(Attention, layer.cross_attn_image_to_token)


def _image_projections(
    layer: nn.Module, tokens: Tensor, key_offset: Tensor, query_offset: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Project image tokens to keys and values for the prompts' attention, and to queries for their own."""
    towards, back = cast(Attention, layer.cross_attn_token_to_image), _back(layer)
    keys = _linear(tokens, towards.k_proj.weight) + key_offset
    queries = _linear(tokens, back.q_proj.weight) + query_offset
    return keys, _projected(towards.v_proj, tokens), queries


def _attend(attention: Attention, q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None = None) -> Tensor:
    """Run ``attention`` after its input projections, without the keys that are not `visible`, bool (B, 1, 1, keys)."""
    q, k, v = (x.unflatten(2, (attention.num_heads, -1)).transpose(1, 2) for x in (q, k, v))
    if torch.is_grad_enabled() and q.dtype == torch.bfloat16 and q.device.type == "cpu":
        with torch.autocast("cpu", enabled=False):  # on a CPU the gradients of bfloat16 take three times as long
            out = F.scaled_dot_product_attention(q.float(), k.float(), v.float(), attn_mask=visible)
    else:
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=visible)
    return _projected(attention.out_proj, out.transpose(1, 2).flatten(2))


def _attend_to_prompts(attention: Attention, q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None) -> Tensor:
    """Run the attention of thousands of image tokens ``q`` to few tokens, as `_attend` does.

    On a CPU its products have a few columns, and take three times as long as their transposes, image by image.
    """
    if not q.is_cpu or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return _attend(attention, q, k, v, visible)
    scale = (q.shape[2] // attention.num_heads) ** -0.5
    q, k, v = (x.unflatten(2, (attention.num_heads, -1)).permute(0, 2, 3, 1) for x in (q, k * scale, v))
    attended = []
    for image in range(len(q)):
        scores = k[image].transpose(1, 2) @ q[image]
        if visible is not None:
            scores = scores.masked_fill(~visible[image].transpose(1, 2), -torch.inf)
        attended.append(v[image] @ scores.softmax(1))
    return _projected(attention.out_proj, torch.stack(attended).flatten(1, 2).transpose(1, 2))


def _two_way(
    transformer: TwoWayTransformer,
    image: PreparedImage,
    offsets: list[tuple[Tensor, Tensor]],
    final_offset: Tensor,
    tokens: Tensor,
    visible: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Run ``transformer`` with padded tokens masked out; return output and prompt tokens, and image tokens."""
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
        pixels = layer.norm4(pixels + _attend_to_prompts(attention, image_queries, k, v, visible))
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
    """Run ``upscaling`` on tokens.

    Its transposed convolutions have stride 2 and 2×2 kernels, so no two outputs overlap. Each is one matrix product on
    the tokens as they lie, and only the finished masks are rearranged into pixels.
    """
    _, norm, activation, _, last_activation = cast(Any, upscaling)
    first, first_bias, second, second_bias = matrices
    x = _linear(pixels, first, first_bias)  # (B, h·w, 2·2·C/4)
    x = (x if middle is None else x + middle).unflatten(2, (4, -1))
    x = activation(F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps))
    x = _linear(x.flatten(1, 2), second, second_bias)  # (B, h·w·2·2, 2·2·C/8)
    x = last_activation(x if fine is None else x + fine.reshape(x.shape))
    return cast(Tensor, x.unflatten(2, (4, -1)).flatten(1, 2))


def _as_tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2).contiguous()


def _as_matrix(convolution: nn.ConvTranspose2d) -> tuple[Tensor, Tensor]:
    """Return the convolution as a matrix product: weight (4·c, C) and bias (4·c,), the four pixels row by row."""
    assert convolution.bias is not None
    return convolution.weight.permute(2, 3, 1, 0).flatten(0, 2), convolution.bias.repeat(4)
