"""SAMed (Zhang and Liu, arXiv 2304.13785): low-rank updates of SAM's image encoder, and its decoder fine-tuned."""

from __future__ import annotations

from typing import Any

import torch
from segment_anything.modeling import Sam
from torch import Tensor, nn
from torch.nn import functional as F

from alignsam_gym.baselines.fine_tuning import FineTunedSAM, blocks_with_attention
from alignsam_gym.errors import OptionError
from alignsam_gym.foundation.sam.predictor import BatchedSamPredictor
from alignsam_gym.srm.segmentation_loss import dice_loss

DECAY = 0.9
"""Power of the learning rate's decay after the warm-up."""


class SAMed(FineTunedSAM):
    """LoRA on the queries and values of the image encoder's attention, and an ordinarily fine-tuned mask decoder.

    The prompt encoder's embedding of an absent mask prompt is fine-tuned as well. An encoder without attention has LoRA
    on its convolutions, but for the first one and depthwise ones. [ours] A sample of this project has one class, so
    SAMed's softmax over all classes is a sigmoid for each class, and its mask token of each class is a learned prompt.
    [ours]

    Args:
        model: The frozen SAM.
        rank: Rank of LoRA's updates.
        dice: Weight of the Dice loss, from 0 to 1. The cross-entropy has the rest.
        warmup: Number of steps in which the learning rate rises from 0. It falls to 0 afterwards, by a power of the
            fraction of steps that are left. Published training ends a fifth before that. [ours]
        steps: Number of steps of AdamW.
        batch_size: Number of images in a step.
        learning_rate: AdamW's highest learning rate.
        weight_decay: AdamW's weight decay.

    Raises:
        OptionError: If `dice` is above 1, or ``peft`` is not installed.
    """

    def __init__(
        self,
        model: BatchedSamPredictor,
        rank: int,
        dice: float,
        warmup: int,
        steps: int,
        batch_size: int,
        learning_rate: float,
        weight_decay: float,
    ) -> None:
        super().__init__(model, steps, batch_size, learning_rate, weight_decay)
        if not 0 <= dice <= 1:
            raise OptionError(f"method.dice={dice}: the Dice loss's share of the whole loss lies from 0 to 1.")
        self.rank, self.dice, self.warmup = rank, dice, warmup
        try:
            import peft
        except ImportError as error:
            raise OptionError("method=samed needs peft: pip install 'alignsam-gym[baselines]'.") from error
        self._peft = peft

    def adapt(self, sam: Sam) -> None:
        encoder = sam.image_encoder
        if blocks := blocks_with_attention(encoder):
            for block in blocks:
                block.attn.qkv = SplitProjection(block.attn)
            split = [name for name, module in encoder.named_modules() if isinstance(module, SplitProjection)]
            targets = [f"{name}.{part}" for name in split for part in ("queries", "values")]
        else:
            # peft makes a layer's update by its own class, of PyTorch's arguments: the first layer and depthwise ones
            # are of another.
            targets = [name for name, module in encoder.named_modules() if type(module) is nn.Conv2d]
        # With alpha = rank the update is not scaled, as in SAMed.
        lora = self._peft.LoraConfig(r=self.rank, lora_alpha=self.rank, target_modules=targets)
        sam.image_encoder = self._peft.inject_adapter_in_model(lora, encoder)
        sam.mask_decoder.requires_grad_(True)
        sam.prompt_encoder.no_mask_embed.requires_grad_(True)

    def loss(self, logits: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
        entropy = F.binary_cross_entropy_with_logits(logits, truth, weight=valid, reduction="sum") / valid.sum()
        predicted = logits.sigmoid()
        foreground = _dice_loss(predicted * valid, truth * valid)
        background = _dice_loss((1 - predicted) * valid, (1 - truth) * valid)
        return (1 - self.dice) * entropy + self.dice * ((foreground + background) / 2)

    def learning_rate_factor(self, step: int, images: int) -> float:
        if step < self.warmup:
            return (step + 1) / self.warmup
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        return float((1 - progress) ** DECAY)


class SplitProjection(nn.Module):
    """An attention's projection to queries, keys and values, split in three, so that LoRA can leave the keys alone.

    Args:
        attention: A SAM encoder's attention, whose `qkv` is a linear layer.
    """

    order: Tensor

    def __init__(self, attention: Any) -> None:
        super().__init__()
        rows = torch.arange(attention.qkv.out_features)
        if hasattr(attention, "key_dim"):  # each of TinyViT's heads has its three projections side by side
            rows = rows.view(attention.num_heads, 3, -1).transpose(0, 1).flatten()
        queries, keys, values = rows.chunk(3)
        self.queries = _linear_of_rows(attention.qkv, queries)
        self.keys = _linear_of_rows(attention.qkv, keys)
        self.values = _linear_of_rows(attention.qkv, values)
        self.register_buffer("order", rows.argsort(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the undivided projection would."""
        return torch.cat([self.queries(x), self.keys(x), self.values(x)], dim=-1)[..., self.order]


def _dice_loss(predicted: Tensor, truth: Tensor) -> Tensor:
    """Return SAMed's Dice loss: over all images of a batch together, with squares in the denominator."""
    return dice_loss(predicted, truth, dim=None, smoothing=1e-5, squared=True)


def _linear_of_rows(linear: nn.Linear, rows: Tensor) -> nn.Linear:
    """Make a frozen linear layer of some of the outputs of another."""
    part = nn.Linear(linear.in_features, len(rows), device=linear.weight.device).requires_grad_(False)
    part.weight.copy_(linear.weight[rows])
    part.bias.copy_(linear.bias[rows])
    return part
