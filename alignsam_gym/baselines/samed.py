"""SAMed (Zhang and Liu, arXiv 2304.13785): low-rank updates of SAM's image encoder, and its decoder tuned."""

from __future__ import annotations

from typing import Any

import torch
from segment_anything.modeling import Sam
from torch import Tensor, nn
from torch.nn import functional as F

from alignsam_gym.baselines.fine_tuning import TunedSAM, blocks_with_attention
from alignsam_gym.errors import OptionError
from alignsam_gym.foundation.sam.predictor import BatchedSamPredictor
from alignsam_gym.srm.segmentation_loss import dice_loss

DECAY = 0.9
"""Power of the learning rate's decay after the warm-up."""


class SAMed(TunedSAM):
    """LoRA on the queries and values of the image encoder's attention; the mask decoder and the prompt encoder's
    embedding of no prompt are tuned as they are.

    An encoder without attention has LoRA on its convolutions. [ours] A sample shows one class, as a data set of this
    project has it: so SAMed's softmax over all classes is a sigmoid for each, and its mask token for each class is a
    learned prompt. [ours]

    rank: of LoRA. dice: weight of the Dice loss; the cross-entropy has the rest. warmup: steps in which the learning
    rate rises to its value; from there it falls to 0, by a power of the share of steps left. Published training ends
    a fifth before that. [ours]

    Raises OptionError without ``peft``.
    """

    def __init__(self, model: BatchedSamPredictor, rank: int, dice: float, warmup: int, **training: Any) -> None:
        super().__init__(model, **training)
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
            split = {name: module for name, module in encoder.named_modules() if isinstance(module, SplitProjection)}
            targets = [f"{name}.{part}" for name in split for part in ("queries", "values")]
        else:
            targets = [name for name, module in encoder.named_modules() if isinstance(module, nn.Conv2d)]
        # With alpha = rank the update is not scaled, as in SAMed.
        lora = self._peft.LoraConfig(r=self.rank, lora_alpha=self.rank, target_modules=targets)
        sam.image_encoder = self._peft.inject_adapter_in_model(lora, encoder)
        sam.mask_decoder.requires_grad_(True)
        sam.prompt_encoder.no_mask_embed.requires_grad_(True)

    def loss(self, logits: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
        entropy = F.binary_cross_entropy_with_logits(logits, truth, weight=valid, reduction="sum") / valid.sum()
        answer = logits.sigmoid()
        dice = (_dice_loss(answer * valid, truth * valid) + _dice_loss((1 - answer) * valid, (1 - truth) * valid)) / 2
        return (1 - self.dice) * entropy + self.dice * dice

    def rate(self, step: int, images: int) -> float:
        if step < self.warmup:
            return (step + 1) / self.warmup
        return (1 - (step - self.warmup) / max(1, self.steps - self.warmup)) ** DECAY


class SplitProjection(nn.Module):
    """An attention's projection to queries, keys and values, as three, so that LoRA can leave the keys alone."""

    order: Tensor

    def __init__(self, attention: Any) -> None:
        super().__init__()
        rows = torch.arange(attention.qkv.out_features)
        if hasattr(attention, "key_dim"):  # TinyViT's heads have their three projections side by side
            rows = rows.view(attention.num_heads, 3, -1).transpose(0, 1).flatten()
        self.queries, self.keys, self.values = (_some_rows(attention.qkv, part) for part in rows.chunk(3))
        self.register_buffer("order", rows.argsort(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.queries(x), self.keys(x), self.values(x)], dim=-1)[..., self.order]


def _dice_loss(answer: Tensor, truth: Tensor) -> Tensor:
    """SAMed's: of all images of a batch together, the denominator's terms squared; for foreground and background."""
    return dice_loss(answer, truth, dim=None, smoothing=1e-5, squared=True)


def _some_rows(linear: nn.Linear, rows: Tensor) -> nn.Linear:
    part = nn.Linear(linear.in_features, len(rows), device=linear.weight.device).requires_grad_(False)
    part.weight.copy_(linear.weight[rows])
    part.bias.copy_(linear.bias[rows])
    return part
