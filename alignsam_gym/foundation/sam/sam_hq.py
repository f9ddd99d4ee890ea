"""SAM-HQ (Ke et al., 2023): SAM with one more output token, which uses high-resolution features of the image.

These features come from the ViT's early tokens and from the embedding, upscaled by layers that the published files keep
in the mask decoder. No prompt changes them, so here the image encoder computes them, and the encoding holds them.

The model is built from ``segment_anything``'s parts, as its publishers built it, and runs in the same batched decoder.
`transformers_format` says where the port in ``transformers`` departs from it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast

import torch
from segment_anything.build_sam import sam_model_registry
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam
from segment_anything.modeling.common import LayerNorm2d
from segment_anything.modeling.mask_decoder import MLP
from torch import Tensor, nn

from alignsam_gym.foundation.sam.batched_decoder import BatchedDecoder, space_to_depth, wanted_masks


class HQImageEncoder(nn.Module):
    """SAM's ViT and the layers that compute SAM-HQ's high-resolution features.

    Args:
        vit: SAM's image encoder. Its modules are used, not copied.
    """

    def __init__(self, vit: ImageEncoderViT) -> None:
        super().__init__()
        self.img_size = vit.img_size
        self.patch_embed, self.pos_embed, self.blocks, self.neck = vit.patch_embed, vit.pos_embed, vit.blocks, vit.neck
        width, dim = vit.patch_embed.proj.out_channels, vit.neck[0].out_channels
        self.compress_vit_feat = _upscaling(width, dim, dim // 8)
        self.embedding_encoder = _upscaling(dim, dim // 4, dim // 8)

    def forward(self, x: Tensor) -> Tensor:
        """Encode images.

        Args:
            x: float (B, 3, 16h, 16w), normalised pixels.

        Returns:
            float (B, C + 2·C, h, w): the embedding, then the high-resolution features, (B, C/8, 4h, 4w), brought to
            (h, w) by `space_to_depth`.
        """
        x = self.patch_embed(x)
        x = x if self.pos_embed is None else x + self.pos_embed
        early = None
        for block in self.blocks:
            x = block(x)
            if early is None and not block.window_size:  # the first with attention over the whole image
                early = x.permute(0, 3, 1, 2)
        embedding = self.neck(x.permute(0, 3, 1, 2))
        fine = self.embedding_encoder(embedding) + self.compress_vit_feat(early)
        return torch.cat([embedding, space_to_depth(space_to_depth(fine))], dim=1)


class HQMaskDecoder(MaskDecoder):  # type: ignore[misc]  # segment_anything has no types
    """Holds the weights of SAM-HQ's mask decoder: SAM's, and SAM-HQ's token and layers.

    `HQDecoder` runs it; its own `forward` must not be called.
    """

    def __init__(self, transformer_dim: int, transformer: nn.Module) -> None:
        super().__init__(transformer_dim=transformer_dim, transformer=transformer)
        dim = transformer_dim
        self.hf_token = nn.Embedding(1, dim)
        self.hf_mlp = MLP(dim, dim, dim // 8, 3)
        self.embedding_maskfeature = nn.Sequential(
            nn.Conv2d(dim // 8, dim // 4, 3, padding=1),
            LayerNorm2d(dim // 4),
            nn.GELU(),
            nn.Conv2d(dim // 4, dim // 8, 3, padding=1),
        )


class HQDecoder(BatchedDecoder):
    """Runs SAM-HQ's decoder: adds the high-quality token's logits to each of SAM's masks.

    SAM-HQ's predictor does the same by default.
    """

    def __init__(self, prompt_encoder: PromptEncoder, mask_decoder: HQMaskDecoder) -> None:
        super().__init__(prompt_encoder, mask_decoder)
        self.high_res_channels = 2 * prompt_encoder.embed_dim
        self.output_tokens = torch.cat([self.output_tokens, mask_decoder.hf_token.weight])

    def _answer(
        self, hidden: Tensor, pixels: Tensor, high_res_features: Tensor, multimask_output: bool
    ) -> tuple[Tensor, Tensor]:
        decoder = cast(HQMaskDecoder, self.mask_decoder)
        wanted = wanted_masks(multimask_output)
        upscaled = self._upscale(pixels)
        kernel = decoder.hf_mlp(hidden[:, len(self.output_tokens) - 1])[:, None]
        refined = decoder.embedding_maskfeature(self._as_map(upscaled))
        # The token's kernel multiplies the sum of both feature maps. They are laid out differently, so it multiplies
        # each by itself, and the products are added.
        high_quality = self._paint(high_res_features.reshape(upscaled.shape), kernel)
        high_quality = high_quality + (kernel @ refined.flatten(2)).reshape(high_quality.shape)
        return self._paint(upscaled, self._kernels(hidden, wanted)) + high_quality, self._iou(hidden)[:, wanted]


def build_hq_sam(vit: str) -> Sam:
    """Build a SAM-HQ on the meta device, that is without memory for its parameters.

    Args:
        vit: ``vit_b``, ``vit_l`` or ``vit_h``.
    """
    with torch.device("meta"):
        return with_hq(sam_model_registry[vit]())


def with_hq(sam: Sam) -> Sam:
    """Build a SAM-HQ around the parts of a SAM that has a ViT; the parts that it adds are untrained."""
    decoder = HQMaskDecoder(sam.mask_decoder.transformer_dim, sam.mask_decoder.transformer)
    return Sam(HQImageEncoder(sam.image_encoder), sam.prompt_encoder, decoder)


def rename_hq(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of a published SAM-HQ to the names that `build_hq_sam` uses."""
    of_the_image = re.compile(r"mask_decoder\.(?=(compress_vit_feat|embedding_encoder)\.)")
    return {of_the_image.sub("image_encoder.", name): tensor for name, tensor in tensors.items()}


def _upscaling(inputs: int, between: int, outputs: int) -> nn.Sequential:
    """Build the layers that bring a map to four times its resolution."""
    return nn.Sequential(
        nn.ConvTranspose2d(inputs, between, 2, stride=2),
        LayerNorm2d(between),
        nn.GELU(),
        nn.ConvTranspose2d(between, outputs, 2, stride=2),
    )
