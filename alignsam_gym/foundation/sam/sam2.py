"""SAM 2.1 (Ravi et al., 2024) on single images: `timm`'s HieraDet and a decoder that differs little from SAM's.

The parts that follow an object through a video are left out. As in ``SAM2ImagePredictor``, the best of the other three
masks replaces the single mask where that is unstable.

Neither the package of SAM 2's publishers nor ``transformers`` is used: their decoders do not mask padded points out of
attention, and the one here is faster.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from alignsam_gym.foundation.sam.batched_decoder import BatchedDecoder, space_to_depth

INPUT_SIZE = 1024
STRIDE = 16
EMBED_DIM = 256

_STABILITY_DELTA = 0.05
_STABLE = 0.98


class Sam2ImageEncoder(nn.Module):
    """HieraDet and a feature pyramid: the embedding, and two finer levels for the mask decoder.

    Args:
        trunk: A ``timm`` HieraDet with four levels. Its classifier is removed.
        img_size: Side of the input, in pixels.
        embed_dim: C, the number of the embedding's channels.
    """

    def __init__(self, trunk: Any, img_size: int, embed_dim: int) -> None:
        super().__init__()
        self.img_size = img_size  # the name under which SamPredictor looks for it
        del trunk.head
        self.trunk = trunk
        widths = [level["num_chs"] for level in trunk.feature_info]
        self.neck = nn.ModuleList(nn.Conv2d(width, embed_dim, 1) for width in reversed(widths))
        self.conv_s0 = nn.Conv2d(embed_dim, embed_dim // 8, 1)
        self.conv_s1 = nn.Conv2d(embed_dim, embed_dim // 4, 1)
        self.no_mem_embed = nn.Parameter(torch.zeros(1, 1, embed_dim))

    def forward(self, x: Tensor) -> Tensor:
        """Encode images.

        Args:
            x: float (B, 3, 16h, 16w), normalised pixels.

        Returns:
            float (B, C + 3·C, h, w): the embedding, then the features of stride 8, (B, C/4, 2h, 2w), and those of
            stride 4, (B, C/8, 4h, 4w), both brought to (h, w) by `space_to_depth`.
        """
        levels = reversed(self.trunk.forward_intermediates(x, intermediates_only=True))
        coarsest, coarse, middle, fine = (conv(level) for conv, level in zip(self.neck, levels, strict=True))
        # An image is a video's first frame: nothing is remembered yet.
        embedding = coarse + F.interpolate(coarsest, scale_factor=2.0) + self.no_mem_embed.reshape(1, -1, 1, 1)
        middle = space_to_depth(self.conv_s1(middle))
        fine = space_to_depth(space_to_depth(self.conv_s0(fine)))
        return torch.cat([embedding, middle, fine], dim=1)


class Sam2MaskDecoder(MaskDecoder):  # type: ignore[misc]  # segment_anything has no types
    """Holds the weights of SAM 2.1's mask decoder: SAM's, and a token for whether the object is present.

    `Sam2Decoder` runs it; its own `forward` must not be called.
    """

    def __init__(self, transformer_dim: int, transformer: nn.Module) -> None:
        super().__init__(transformer_dim=transformer_dim, transformer=transformer)
        self.iou_prediction_head.sigmoid_output = True
        self.obj_score_token = nn.Embedding(1, transformer_dim)


class Sam2Decoder(BatchedDecoder):
    """Runs SAM 2.1's decoder: adds high-resolution features while upscaling, and chooses among four masks."""

    def __init__(self, prompt_encoder: PromptEncoder, mask_decoder: Sam2MaskDecoder) -> None:
        super().__init__(prompt_encoder, mask_decoder)
        self.high_res_channels = 3 * prompt_encoder.embed_dim
        # SAM 2 has this token first; attention does not see an order.
        self.output_tokens = torch.cat([self.output_tokens, mask_decoder.obj_score_token.weight])

    def _answer(
        self, hidden: Tensor, pixels: Tensor, high_res_features: Tensor, multimask_output: bool
    ) -> tuple[Tensor, Tensor]:
        middle, fine = high_res_features.tensor_split([self.prompt_encoder.embed_dim], dim=2)
        masks = self._paint(self._upscale(pixels, middle, fine), self._kernels(hidden, slice(None)))
        iou = self._iou(hidden)
        if multimask_output:
            return masks[:, 1:], iou[:, 1:]
        rows = torch.arange(len(masks), device=masks.device)
        chosen = torch.where(_stable(masks[:, 0]), 0, 1 + iou[:, 1:].argmax(dim=1))
        return masks[rows, chosen][:, None], iou[rows, chosen][:, None]


def _stable(logits: Tensor) -> Tensor:
    """Tell which masks (B, H, W) hardly change with the threshold: bool (B,)."""
    inner = (logits > _STABILITY_DELTA).sum((1, 2))
    outer = (logits > -_STABILITY_DELTA).sum((1, 2))
    return (outer == 0) | (inner / outer >= _STABLE)


def build_sam2(size: str) -> Sam:
    """Build an untrained SAM 2.1.

    Args:
        size: ``tiny``, ``small``, ``base_plus`` or ``large``.
    """
    from timm import create_model  # takes seconds, and few models need it

    return sam2_from(create_model(f"sam2_hiera_{size}", weight_init="skip"), INPUT_SIZE, EMBED_DIM)


def sam2_from(trunk: Any, img_size: int, embed_dim: int) -> Sam:
    """Build an untrained SAM 2.1 around an image encoder's trunk.

    Args:
        trunk: A ``timm`` HieraDet with four levels.
        img_size: Side of the input, in pixels. The embedding's side is a sixteenth of it.
        embed_dim: C, the number of the embedding's channels.
    """
    grid = (img_size // STRIDE, img_size // STRIDE)
    return Sam(
        image_encoder=Sam2ImageEncoder(trunk, img_size, embed_dim),
        prompt_encoder=PromptEncoder(
            embed_dim=embed_dim, image_embedding_size=grid, input_image_size=(img_size, img_size), mask_in_chans=16
        ),
        mask_decoder=Sam2MaskDecoder(
            embed_dim, TwoWayTransformer(depth=2, embedding_dim=embed_dim, num_heads=8, mlp_dim=2048)
        ),
    )


def rename_sam2(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of a published SAM 2.1 to the names that `build_sam2` uses.

    The tensors that only videos need are left out, and so is the head that says whether the object is present.
    """
    needed = re.compile(r"image_encoder\.|sam_prompt_encoder\.|sam_mask_decoder\.(?!pred_obj_score_head)|no_mem_embed$")
    return {_renamed(name): tensor for name, tensor in tensors.items() if needed.match(name)}


def _renamed(name: str) -> str:
    # What acts on the image alone belongs to its encoder here.
    name = re.sub(r"^sam_mask_decoder\.(?=conv_s[01])|^(?=no_mem_embed)", "image_encoder.", name)
    name = re.sub(r"^sam_(?=prompt_encoder|mask_decoder)", "", name)
    name = re.sub(r"neck\.convs\.(\d)\.conv", r"neck.\1", name)
    layer = "fc" if name.startswith("image_encoder.trunk.") else "lin"
    return re.sub(r"\.mlp\.layers\.(\d)", lambda match: f".mlp.{layer}{int(match[1]) + 1}", name)
