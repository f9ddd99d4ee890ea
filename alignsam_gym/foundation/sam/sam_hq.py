"""SAM-HQ (Ke et al., 2023): SAM with one more output token, which paints with finer features of the image.

A ViT's early tokens and its embedding give those features, upscaled by layers that the published files keep in the
mask decoder. No prompt takes part in them, so here they belong to the image encoder, and the encoding holds them.

It is built from ``segment_anything``'s parts, as it was published, and runs in the same batched decoder. The port in
``transformers`` (5.23) upscales the image tokens from before the decoder's transformer, and answers something else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast

import torch
from segment_anything import sam_model_registry
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam
from segment_anything.modeling.common import LayerNorm2d
from segment_anything.modeling.mask_decoder import MLP
from torch import Tensor, nn

from alignsam_gym.foundation.sam.batched_decoder import BatchedDecoder, fold


class HQImageEncoder(nn.Module):
    """SAM's ViT, and the finer features.

    Input: float (B, 3, 16h, 16w), normalised. Output: (B, C + 2·C, h, w), the embedding and then the features,
    (B, C/8, 4h, 4w) before they are folded.
    """

    def __init__(self, vit: ImageEncoderViT) -> None:
        super().__init__()
        self.img_size = vit.img_size
        self.patch_embed, self.pos_embed, self.blocks, self.neck = vit.patch_embed, vit.pos_embed, vit.blocks, vit.neck
        width, dim = vit.patch_embed.proj.out_channels, vit.neck[0].out_channels
        self.compress_vit_feat = _upscaling(width, dim, dim // 8)
        self.embedding_encoder = _upscaling(dim, dim // 4, dim // 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        x = x if self.pos_embed is None else x + self.pos_embed
        early = None
        for block in self.blocks:
            x = block(x)
            if early is None and not block.window_size:  # the first with attention over the whole image
                early = x.permute(0, 3, 1, 2)
        embedding = self.neck(x.permute(0, 3, 1, 2))
        fine = self.embedding_encoder(embedding) + self.compress_vit_feat(early)
        return torch.cat([embedding, fold(fold(fine))], dim=1)


class HQMaskDecoder(MaskDecoder):
    """SAM's mask decoder with SAM-HQ's token and layers: run by `HQDecoder`, never by itself."""

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
    """Adds the further token's mask to each of SAM's, as SAM-HQ's predictor does by default."""

    def __init__(self, prompt_encoder: PromptEncoder, mask_decoder: HQMaskDecoder) -> None:
        super().__init__(prompt_encoder, mask_decoder)
        self.details = 2 * prompt_encoder.embed_dim
        self.output_tokens = torch.cat([self.output_tokens, mask_decoder.hf_token.weight])

    def _answer(self, hidden: Tensor, pixels: Tensor, details: Tensor, multimask_output: bool) -> tuple[Tensor, Tensor]:
        decoder = cast(HQMaskDecoder, self.mask_decoder)
        wanted = slice(1, None) if multimask_output else slice(1)
        upscaled = self._upscale(pixels)
        kernel = decoder.hf_mlp(hidden[:, len(self.output_tokens) - 1])[:, None]
        refined = decoder.embedding_maskfeature(self._as_map(upscaled))
        # It paints with the sum of image's and prompts' features; each is painted as it lies.
        further = self._paint(details.reshape(upscaled.shape), kernel)
        further = further + (kernel @ refined.flatten(2)).reshape(further.shape)
        return self._paint(upscaled, self._kernels(hidden, wanted)) + further, self._iou(hidden)[:, wanted]


def build_hq_sam(vit: str) -> Sam:
    """A SAM-HQ without memory for its parameters. vit: vit_b, vit_l or vit_h."""
    with torch.device("meta"):
        return with_hq(sam_model_registry[vit]())


def with_hq(sam: Sam) -> Sam:
    """SAM-HQ around the parts of a SAM that has a ViT; what it adds is untrained."""
    decoder = HQMaskDecoder(sam.mask_decoder.transformer_dim, sam.mask_decoder.transformer)
    return Sam(HQImageEncoder(sam.image_encoder), sam.prompt_encoder, decoder)


def rename_hq(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a published SAM-HQ under the names that `build_hq_sam` gives them."""
    of_the_image = re.compile(r"mask_decoder\.(?=(compress_vit_feat|embedding_encoder)\.)")
    return {of_the_image.sub("image_encoder.", name): tensor for name, tensor in tensors.items()}


def _upscaling(inputs: int, between: int, outputs: int) -> nn.Sequential:
    """To four times the resolution."""
    return nn.Sequential(
        nn.ConvTranspose2d(inputs, between, 2, stride=2),
        LayerNorm2d(between),
        nn.GELU(),
        nn.ConvTranspose2d(between, outputs, 2, stride=2),
    )
