"""EfficientNet-Lite2 (Tan and Le, arXiv 1905.11946), trained on ImageNet: what both embedded models look through.

Batch normalisation is folded into the convolutions before it, so a layer is a convolution and a clamp. The layers are
those of timm's ``tf_efficientnet_lite2``, whose weights `experiments.pretraining.backbone` converts; timm itself takes
seconds to import and is not needed here.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PIXEL_MEAN, PIXEL_STD = 127.0, 128.0
"""The backbone's input is (x − 127) / 128 of pixels in [0, 255]."""


class Stage(NamedTuple):
    """Blocks of equal output. expand: how many times wider a block is inside."""

    blocks: int
    kernel: int
    stride: int
    expand: int
    channels: int


LAYOUT = (
    Stage(1, 3, 1, 1, 16),
    Stage(3, 3, 2, 6, 24),
    Stage(3, 5, 2, 6, 48),
    Stage(4, 3, 2, 6, 88),
    Stage(4, 5, 1, 6, 120),
    Stage(5, 5, 2, 6, 208),
    Stage(1, 3, 1, 6, 352),
)
STEM = 32
_SHOWN = (1, 2, 4, 6)  # the last stages of their resolutions
STRIDES = (4, 8, 16, 32)
CHANNELS = tuple(LAYOUT[k].channels for k in _SHOWN)
"""Of the features of each of `STRIDES`: (24, 48, 120, 352)."""


class Backbone(nn.Module):
    """Features of four resolutions, each normalised over its channels.

    Input: float (B, 3, H, W), H and W multiples of 32, pixels as `PIXEL_MEAN` says.
    Output: float (B, c, H / s, W / s) for each of `CHANNELS` and `STRIDES`, the finest first.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConvolution(3, STEM, 3, stride=2)
        inputs, stages = STEM, []
        for stage in LAYOUT:
            blocks = []
            for number in range(stage.blocks):
                stride = 1 if number else stage.stride
                blocks.append(InvertedResidual(inputs, stage.channels, stage.kernel, stride, stage.expand))
                inputs = stage.channels
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(normalised(features) for features in self.features(x))

    def features(self, x: Tensor) -> list[Tensor]:
        """The features before they are normalised; the last are what ImageNet's classifier goes on from."""
        x = F.relu6(self.stem(x))
        shown = []
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if number in _SHOWN:
                shown.append(x)
        return shown


class InvertedResidual(nn.Module):
    """A narrow input made wide, filtered channel by channel and made narrow again; added to it where shapes agree."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        wide = inputs * expand
        self.expand = nn.Conv2d(inputs, wide, 1) if expand > 1 else None
        self.filter = SameConvolution(wide, wide, kernel, stride, groups=wide)
        self.project = nn.Conv2d(wide, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        wide = x if self.expand is None else F.relu6(self.expand(x))
        narrow = self.project(F.relu6(self.filter(wide)))
        return x + narrow if self.residual else narrow


class SameConvolution(nn.Conv2d):
    """TensorFlow's ``SAME`` padding: with stride 2 an even side gets one pixel more at its end than at its start."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding=kernel // 2 if stride == 1 else 0, groups=groups)
        total = kernel - stride
        self.margin = (total // 2, total - total // 2) * 2 if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if self.margin is None else F.pad(x, self.margin))


def normalised(features: Tensor) -> Tensor:
    """Features (B, c, h, w) with mean 0 and variance 1 over the channels of each cell."""
    mean, variance = features.mean(1, keepdim=True), features.var(1, keepdim=True, correction=0)
    return (features - mean) * torch.rsqrt(variance + 1e-5)
