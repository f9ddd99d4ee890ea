"""MSA, the Medical SAM Adapter (Wu et al., arXiv 2304.12620): bottlenecks in a frozen SAM."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from segment_anything.modeling import Sam
from torch import Tensor, nn
from torch.nn import functional as F

from alignsam_gym.baselines.fine_tuning import FineTunedSAM, blocks_with_attention
from alignsam_gym.errors import OptionError
from alignsam_gym.foundation.sam.predictor import BatchedSamPredictor

HALVE_EVERY = 10
"""Passes over the images after which the learning rate is halved."""


class MSA(FineTunedSAM):
    """Bottlenecks in each block of the image encoder and of the mask decoder. Nothing else learns.

    A block of the encoder has one after its attention and one beside its MLP. A block of the decoder has one after the
    tokens have seen the image, one beside its MLP, and one after the image has seen the tokens; the first and the last
    follow the layer norm.

    An encoder without attention has a bottleneck after each of its stages. [ours] A bottleneck's last layer begins at
    zero, so that training begins at the frozen model. [ours] MSA is prompted by a click, for which there is no user
    here: where there are several classes, a learned prompt names the class. [ours]

    Args:
        model: The frozen SAM.
        ratio: A bottleneck's width as a fraction of the width of its input.
        scale: What the output of the bottlenecks beside MLPs is multiplied by.
        positive_weight: Weight of the foreground in the cross-entropy.
        steps: Number of steps of AdamW.
        batch_size: Number of images in a step.
        learning_rate: AdamW's highest learning rate.
        weight_decay: AdamW's weight decay.

    Raises:
        OptionError: If `ratio` is not above 0 and at most 1.
    """

    def __init__(
        self,
        model: BatchedSamPredictor,
        ratio: float,
        scale: float,
        positive_weight: float,
        steps: int,
        batch_size: int,
        learning_rate: float,
        weight_decay: float,
    ) -> None:
        super().__init__(model, steps, batch_size, learning_rate, weight_decay)
        if not 0 < ratio <= 1:
            raise OptionError(
                f"method.ratio={ratio}: a bottleneck's share of the width lies above 0, and at most at 1."
            )
        self.ratio, self.scale, self.positive_weight = ratio, scale, positive_weight

    def adapt(self, sam: Sam) -> None:
        blocks = blocks_with_attention(sam.image_encoder)
        for block in blocks:
            width = block.attn.proj.out_features
            block.attn = SerialAdapter(block.attn, Bottleneck(width, self.ratio))
            block.mlp = ParallelAdapter(block.mlp, Bottleneck(width, self.ratio), self.scale)
        if not blocks:
            self._adapt_stages(sam.image_encoder)
        width = sam.mask_decoder.transformer_dim
        for layer in sam.mask_decoder.transformer.layers:
            layer.norm2 = SerialAdapter(layer.norm2, Bottleneck(width, self.ratio))
            layer.mlp = ParallelAdapter(layer.mlp, Bottleneck(width, self.ratio), self.scale)
            layer.norm4 = SerialAdapter(layer.norm4, Bottleneck(width, self.ratio))

    def _adapt_stages(self, encoder: Any) -> None:
        networks = [module.stages for module in encoder.modules() if hasattr(module, "stages")] or [encoder]
        pointwise = partial(nn.Conv2d, kernel_size=1)
        for stages in networks:
            for name, stage in list(stages.named_children()):
                convolutions = [module for module in stage.modules() if isinstance(module, nn.Conv2d)]
                bottleneck = Bottleneck(convolutions[-1].out_channels, self.ratio, pointwise)
                setattr(stages, name, SerialAdapter(stage, bottleneck))

    def loss(self, logits: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
        weight = torch.tensor(self.positive_weight, device=logits.device)
        entropy = F.binary_cross_entropy_with_logits(logits, truth, valid, reduction="sum", pos_weight=weight)
        return entropy / valid.sum()

    def learning_rate_factor(self, step: int, images: int) -> float:
        passes = step * self.batch_size // images
        return float(0.5 ** (passes // HALVE_EVERY))


class Bottleneck(nn.Sequential):
    """A layer to fewer channels, GELU, and a layer back to as many as before, which begins at zero.

    Args:
        width: Number of input and output channels.
        ratio: Number of channels between the layers, as a fraction of `width`.
        layer: Makes a layer from the numbers of its input and output channels.
    """

    def __init__(self, width: int, ratio: float, layer: Callable[..., nn.Module] = nn.Linear) -> None:
        narrow = max(1, int(width * ratio))
        up: Any = layer(narrow, width)
        nn.init.zeros_(up.weight)
        nn.init.zeros_(up.bias)
        super().__init__(layer(width, narrow), nn.GELU(), up)


class SerialAdapter(nn.Module):
    """A bottleneck after a frozen module."""

    def __init__(self, frozen: nn.Module, bottleneck: Bottleneck) -> None:
        super().__init__()
        self.frozen, self.bottleneck = frozen, bottleneck

    def forward(self, x: Tensor) -> Tensor:
        """Return the module's output plus the bottleneck's output for it."""
        output: Tensor = self.frozen(x)
        added: Tensor = self.bottleneck(output)
        return output + added


class ParallelAdapter(nn.Module):
    """A bottleneck beside a frozen module."""

    def __init__(self, frozen: nn.Module, bottleneck: Bottleneck, scale: float) -> None:
        super().__init__()
        self.frozen, self.bottleneck, self.scale = frozen, bottleneck, scale

    def forward(self, x: Tensor) -> Tensor:
        """Return the module's output plus the bottleneck's scaled output for the same input."""
        output: Tensor = self.frozen(x)
        added: Tensor = self.scale * self.bottleneck(x)
        return output + added
