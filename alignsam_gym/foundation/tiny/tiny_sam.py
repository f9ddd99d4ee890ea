"""The architecture of the embedded SAM: ``segment_anything``'s own modules around a small encoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional as F

from alignsam_gym.foundation.tiny.tiny_backbone import CHANNELS, PIXEL_MEAN, PIXEL_STD, Backbone

INPUT_SIZE = 256
STRIDE = 8
EMBED_DIM = 128
_DETAIL_WIDTHS = (32, 48, 96)  # channels of the stages of `Detail`


class TinyImageEncoder(nn.Module):
    """The backbone, which knows what things are, and a path of its own for where exactly they end."""

    def __init__(self) -> None:
        super().__init__()
        self.img_size = INPUT_SIZE  # the name under which SamPredictor looks for it
        self.backbone = Backbone()
        self.detail = Detail()
        self.neck = Neck()

    def forward(self, x: Tensor) -> Tensor:
        """Encode images.

        Args:
            x: float (B, 3, 256, 256), normalised pixels.

        Returns:
            The embedding, float (B, 128, 32, 32).
        """
        return self.with_stages(x)[0]

    def with_stages(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Encode images, and return the backbone's stages of strides 8, 16 and 32 beside the embedding."""
        stages = self.backbone(x)[1:]
        embedding: Tensor = self.neck(self.detail(x), stages)
        return embedding, stages


class Detail(nn.Module):
    """A small residual network whose strides 2, 4 and 8 are merged at stride 8.

    It consists of dense 3×3 convolutions and batch normalisation, which CPUs run fast for their number of parameters.
    """

    def __init__(self) -> None:
        super().__init__()
        half, quarter, eighth = _DETAIL_WIDTHS
        self.stages = nn.ModuleList(
            [
                conv_norm_relu(3, half, stride=2),
                nn.Sequential(conv_norm_relu(half, quarter, stride=2), ResidualBlock(quarter)),
                nn.Sequential(conv_norm_relu(quarter, eighth, stride=2), ResidualBlock(eighth), ResidualBlock(eighth)),
            ]
        )
        # Strided projections bring the finer scales to stride 8 without averaging their detail away.
        self.laterals = nn.ModuleList(
            nn.Conv2d(width, EMBED_DIM, STRIDE // stride, stride=STRIDE // stride)
            for width, stride in zip(_DETAIL_WIDTHS, (2, 4, 8), strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return float (B, 128, 32, 32) for normalised pixels, float (B, 3, 256, 256)."""
        merged = torch.zeros((), device=x.device)
        for stage, lateral in zip(self.stages, self.laterals, strict=True):
            x = stage(x)
            merged = merged + lateral(x)
        return merged


class Neck(nn.Module):
    """Merges the detail and the backbone's features to the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(width, EMBED_DIM, 1) for width in CHANNELS[1:])
        self.merge = nn.Sequential(
            conv_norm_relu(EMBED_DIM, EMBED_DIM), ResidualBlock(EMBED_DIM), ResidualBlock(EMBED_DIM)
        )
        self.out = nn.Sequential(nn.Conv2d(EMBED_DIM, EMBED_DIM, 1, bias=False), LayerNorm2d(EMBED_DIM))

    def forward(self, detail: Tensor, features: Sequence[Tensor]) -> Tensor:
        """Merge the two paths.

        Args:
            detail: float (B, 128, 32, 32), from `Detail`.
            features: The backbone's of strides 8, 16 and 32.

        Returns:
            The embedding, float (B, 128, 32, 32).
        """
        merged = detail
        for lateral, stage in zip(self.laterals, features, strict=True):
            merged = merged + F.interpolate(lateral(stage), detail.shape[2:], mode="bilinear", align_corners=False)
        embedding: Tensor = self.out(self.merge(merged))
        return embedding


def conv_norm_relu(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Make a 3×3 convolution, batch normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions of `width` channels beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        norm = nn.BatchNorm2d(width)
        nn.init.zeros_(norm.weight)  # each block starts as the identity
        self.body = nn.Sequential(conv_norm_relu(width, width), nn.Conv2d(width, width, 3, padding=1, bias=False), norm)

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the shape of `x`, float (B, width, h, w)."""
        return F.relu(x + self.body(x))


def build_tiny_sam() -> Sam:
    """Build an untrained embedded SAM: input 256 × 256 pixels, embedding (128, 32, 32), logits 128 × 128."""
    grid = INPUT_SIZE // STRIDE
    sam = Sam(
        image_encoder=TinyImageEncoder(),
        prompt_encoder=PromptEncoder(
            embed_dim=EMBED_DIM,
            image_embedding_size=(grid, grid),
            input_image_size=(INPUT_SIZE, INPUT_SIZE),
            mask_in_chans=16,
        ),
        mask_decoder=MaskDecoder(
            transformer_dim=EMBED_DIM,
            transformer=TwoWayTransformer(depth=2, embedding_dim=EMBED_DIM, num_heads=8, mlp_dim=256),
            iou_head_depth=3,
            iou_head_hidden_dim=EMBED_DIM,
        ),
        pixel_mean=[PIXEL_MEAN] * 3,
        pixel_std=[PIXEL_STD] * 3,
    )
    return sam.to(memory_format=torch.channels_last)
