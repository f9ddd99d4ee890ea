"""EfficientNet-Lite2 (Tan and Le, arXiv 1905.11946), trained on ImageNet: the backbone of both embedded models.

Batch normalisation is folded into the convolution before it, so a layer is a convolution and a clamp. The layers are
those of timm's ``tf_efficientnet_lite2``, whose weights `experiments.pretrain.published_backbone` converts. timm itself
takes seconds to import and is not needed here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PIXEL_MEAN, PIXEL_STD = 127.0, 128.0
"""Pixels x in [0, 255] are normalised as (x − mean) / std, in all channels alike."""


class Stage(NamedTuple):
    """Blocks of equal output.

    Attributes:
        blocks: How many there are.
        kernel: Side of the depthwise convolutions.
        stride: Of the first block; the others have 1.
        expansion: How many times wider a block is inside than at its input.
        channels: Of the output.
    """

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(3, 3, 2, 6, 24),
    Stage(3, 5, 2, 6, 48),
    Stage(4, 3, 2, 6, 88),
    Stage(4, 5, 1, 6, 120),
    Stage(5, 5, 2, 6, 208),
    Stage(1, 3, 1, 6, 352),
)
"""The published network, after a stem of stride 2."""

_STEM_CHANNELS = 32
_RETURNED = (1, 2, 4, 6)  # the last stage of each stride
CHANNELS = tuple(STAGES[k].channels for k in _RETURNED)
"""Of the returned features, whose strides are 4, 8, 16 and 32: (24, 48, 120, 352)."""


class Backbone(nn.Module):
    """Features of four strides, each normalised over its channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConvolution(3, _STEM_CHANNELS, 3, stride=2)
        inputs, stages = _STEM_CHANNELS, []
        for stage in STAGES:
            blocks = []
            for number in range(stage.blocks):
                stride = 1 if number else stage.stride
                blocks.append(InvertedResidual(inputs, stage.channels, stage.kernel, stride, stage.expansion))
                inputs = stage.channels
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Compute normalised features.

        Args:
            pixels: float (B, 3, H, W), normalised by `PIXEL_MEAN` and `PIXEL_STD`; H and W are multiples of 32.

        Returns:
            float (B, c, H / s, W / s) for each c of `CHANNELS` and s of 4, 8, 16, 32.
        """
        return [normalised(features) for features in self.features(pixels)]

    def features(self, pixels: Tensor) -> list[Tensor]:
        """Compute the features before they are normalised. ImageNet's classifier goes on from the last ones.

        Args:
            pixels: As for `forward`.

        Returns:
            Features of the same shapes as those of `forward`.
        """
        x = F.relu6(self.stem(pixels))
        returned = []
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if number in _RETURNED:
                returned.append(x)
        return returned


class InvertedResidual(nn.Module):
    """Widens its input, filters it channel by channel and narrows it; adds the input where shapes agree.

    Args:
        inputs: Channels of the input.
        outputs: Channels of the output.
        kernel: Side of the depthwise convolution.
        stride: Of the depthwise convolution.
        expansion: How many times wider the block is inside.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.expand = nn.Conv2d(inputs, wide, 1) if expansion > 1 else None
        self.filter = SameConvolution(wide, wide, kernel, stride, groups=wide)
        self.project = nn.Conv2d(wide, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Return float (B, outputs, H / stride, W / stride) for float (B, inputs, H, W)."""
        wide = x if self.expand is None else F.relu6(self.expand(x))
        narrow: Tensor = self.project(F.relu6(self.filter(wide)))
        return x + narrow if self.residual else narrow


class SameConvolution(nn.Conv2d):
    """A convolution with TensorFlow's padding ``SAME``.

    With stride 2 an even side gets one pixel more at its end than at its start.

    Args:
        inputs: Channels of the input.
        outputs: Channels of the output.
        kernel: Side of the kernel, odd.
        stride: 1 or 2.
        groups: As for `torch.nn.Conv2d`.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding=kernel // 2 if stride == 1 else 0, groups=groups)
        total = kernel - stride
        self.margin = (total // 2, total - total // 2) * 2 if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        """Return float (B, outputs, H / stride, W / stride) for float (B, inputs, H, W)."""
        return super().forward(x if self.margin is None else F.pad(x, self.margin))


def on_one_grid(stages: Sequence[Tensor]) -> Tensor:
    """Put the stages of strides 8, 16 and 32 side by side on the first one's grid: float (B, 520, h, w)."""
    size = stages[0].shape[2:]
    return torch.cat([F.interpolate(stage, size, mode="bilinear", align_corners=False) for stage in stages], dim=1)


def normalised(features: Tensor) -> Tensor:
    """Give the channels of each cell of features (B, c, h, w) mean 0 and variance 1."""
    mean, variance = features.mean(1, keepdim=True), features.var(1, keepdim=True, correction=0)
    return (features - mean) * torch.rsqrt(variance + 1e-5)
