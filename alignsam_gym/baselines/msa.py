"""MSA, the Medical SAM Adapter (Wu et al., arXiv 2304.12620): bottlenecks in a frozen SAM."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from segment_anything.modeling import Sam
from torch import Tensor, nn
from torch.nn import functional as F

from alignsam_gym.baselines.fine_tuning import TunedSAM, blocks_with_attention
from alignsam_gym.errors import OptionError
from alignsam_gym.foundation.sam.predictor import BatchedSamPredictor

HALVE_EVERY = 10
"""Passes over the images after which the learning rate is halved."""


class MSA(TunedSAM):
    """In each block of the image encoder a bottleneck after the attention and one beside the MLP; in each of the mask
    decoder's one after the tokens have seen the image, one beside the MLP, and one after the image has seen the tokens
    (these two after the layer norm that follows the sum). Nothing else learns.

    An encoder without attention has a bottleneck after each of its stages. [ours] A bottleneck's last layer begins at
    zero, so that training begins at the frozen model. [ours] MSA is prompted by a click; here nobody clicks, and a
    learned prompt says what is asked for where there are several classes. [ours]

    ratio: of a bottleneck's width to that of its input. scale: of those beside an MLP. positive_weight: of foreground
    in the cross-entropy.
    """

    def __init__(
        self, model: BatchedSamPredictor, ratio: float, scale: float, positive_weight: float, **training: Any
    ) -> None:
        super().__init__(model, **training)
        if not 0 < ratio <= 1:
            raise OptionError(
                f"method.ratio={ratio}: a bottleneck's share of the width lies above 0, and at most at 1."
            )
        self.ratio, self.scale, self.positive_weight = ratio, scale, positive_weight

    def adapt(self, sam: Sam) -> None:
        encoder: Any = sam.image_encoder
        for block in blocks_with_attention(encoder):
            width = block.attn.proj.out_features
            block.attn = After(block.attn, Bottleneck(width, self.ratio))
            block.mlp = Beside(block.mlp, Bottleneck(width, self.ratio), self.scale)
        if not blocks_with_attention(encoder):
            stages = getattr(encoder, "stages", encoder)
            for name, stage in list(stages.named_children()):
                width = [module for module in stage.modules() if isinstance(module, nn.Conv2d)][-1].out_channels
                pointwise = partial(nn.Conv2d, kernel_size=1)
                setattr(stages, name, After(stage, Bottleneck(width, self.ratio, pointwise)))
        width = sam.mask_decoder.transformer_dim
        for layer in sam.mask_decoder.transformer.layers:
            layer.norm2 = After(layer.norm2, Bottleneck(width, self.ratio))
            layer.mlp = Beside(layer.mlp, Bottleneck(width, self.ratio), self.scale)
            layer.norm4 = After(layer.norm4, Bottleneck(width, self.ratio))

    def loss(self, logits: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
        weight = torch.tensor(self.positive_weight, device=logits.device)
        entropy = F.binary_cross_entropy_with_logits(logits, truth, valid, reduction="sum", pos_weight=weight)
        return entropy / valid.sum()

    def rate(self, step: int, images: int) -> float:
        return 0.5 ** (step * self.batch_size // images // HALVE_EVERY)


class Bottleneck(nn.Sequential):
    """Down, GELU, up. layer: makes the two, from numbers of channels."""

    def __init__(self, width: int, ratio: float, layer: Callable[..., nn.Module] = nn.Linear) -> None:
        narrow = max(1, int(width * ratio))
        up: Any = layer(narrow, width)
        nn.init.zeros_(up.weight)
        nn.init.zeros_(up.bias)
        super().__init__(layer(width, narrow), nn.GELU(), up)


class After(nn.Module):
    def __init__(self, frozen: nn.Module, bottleneck: Bottleneck) -> None:
        super().__init__()
        self.frozen, self.bottleneck = frozen, bottleneck

    def forward(self, x: Tensor) -> Tensor:
        out = self.frozen(x)
        return out + self.bottleneck(out)


class Beside(nn.Module):
    def __init__(self, frozen: nn.Module, bottleneck: Bottleneck, scale: float) -> None:
        super().__init__()
        self.frozen, self.bottleneck, self.scale = frozen, bottleneck, scale

    def forward(self, x: Tensor) -> Tensor:
        return self.frozen(x) + self.scale * self.bottleneck(x)
