"""The architecture of the embedded SAM: ``segment_anything``'s own modules around a small encoder."""

from __future__ import annotations

import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional as F

INPUT_SIZE = 256
STRIDE = 8
EMBED_DIM = 128


class TinyImageEncoder(nn.Module):
    """A residual network whose five scales are merged at stride 8.

    It consists of dense 3×3 convolutions and batch normalisation, which CPUs run fast for their number of parameters.

    Args:
        widths: Channels of the four stages, at strides 4, 8, 16 and 32.
        depths: Residual blocks of the four stages.
    """

    def __init__(self, widths: tuple[int, ...] = (48, 96, 192, 256), depths: tuple[int, ...] = (1, 2, 2, 1)) -> None:
        super().__init__()
        self.img_size = INPUT_SIZE  # the name under which SamPredictor looks for it
        self.stem = _conv(3, 32, stride=2)
        inputs = (32, *widths[:-1])
        self.stages = nn.ModuleList(
            nn.Sequential(_conv(before, width, stride=2), *(_Residual(width) for _ in range(depth)))
            for before, width, depth in zip(inputs, widths, depths, strict=True)
        )
        # Strided projections bring the finer scales to stride 8 without averaging their detail away.
        scales = zip((32, *widths), (2, 4, 8, 16, 32), strict=True)
        self.laterals = nn.ModuleList(
            nn.Conv2d(width, EMBED_DIM, max(1, STRIDE // stride), stride=max(1, STRIDE // stride))
            for width, stride in scales
        )
        self.merge = nn.Sequential(_conv(EMBED_DIM, EMBED_DIM), _Residual(EMBED_DIM))
        self.neck = nn.Sequential(nn.Conv2d(EMBED_DIM, EMBED_DIM, 1, bias=False), LayerNorm2d(EMBED_DIM))

    def forward(self, x: Tensor) -> Tensor:
        """Encode images.

        Args:
            x: float (B, 3, 256, 256), normalised pixels.

        Returns:
            The embedding, float (B, 128, 32, 32).
        """
        scales = [self.stem(x)]
        for stage in self.stages:
            scales.append(stage(scales[-1]))
        grid = (INPUT_SIZE // STRIDE, INPUT_SIZE // STRIDE)
        merged = sum(
            F.interpolate(lateral(scale), grid, mode="bilinear", align_corners=False)
            for scale, lateral in zip(scales, self.laterals, strict=True)
        )
        embedding: Tensor = self.neck(self.merge(merged))
        return embedding


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        norm = nn.BatchNorm2d(width)
        nn.init.zeros_(norm.weight)  # each block starts as the identity
        self.body = nn.Sequential(_conv(width, width), nn.Conv2d(width, width, 3, padding=1, bias=False), norm)

    def forward(self, x: Tensor) -> Tensor:
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
    )
    return sam.to(memory_format=torch.channels_last)
