"""MobileSAM (Zhang et al., 2023): SAM's decoder behind a TinyViT, which is `timm`'s."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn

INPUT_SIZE = 1024
STRIDE = 16
EMBED_DIM = 256


class MobileImageEncoder(nn.Module):
    """TinyViT-5M without its last downsampling, and SAM's neck.

    Input: float (B, 3, 1024, 1024), normalised. Output: (B, 256, 64, 64).
    """

    def __init__(self) -> None:
        super().__init__()
        from timm.models.tiny_vit import TinyVit  # takes seconds, and only this model needs it

        self.img_size = INPUT_SIZE  # the name under which SamPredictor looks for it
        widths = (64, 128, 160, 320)
        trunk: Any = TinyVit(
            num_classes=0,
            embed_dims=widths,
            depths=(2, 2, 6, 2),
            num_heads=(2, 4, 5, 10),
            window_sizes=(7, 7, 14, 7),
            drop_path_rate=0.0,
        )
        trunk.stages[3].downsample.conv2.conv.stride = (1, 1)
        del trunk.head
        self.trunk = trunk
        self.neck = nn.Sequential(
            nn.Conv2d(widths[-1], EMBED_DIM, 1, bias=False),
            LayerNorm2d(EMBED_DIM),
            nn.Conv2d(EMBED_DIM, EMBED_DIM, 3, padding=1, bias=False),
            LayerNorm2d(EMBED_DIM),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.neck(self.trunk.forward_features(x))


def build_mobile_sam() -> Sam:
    """An untrained MobileSAM."""
    grid = INPUT_SIZE // STRIDE
    return Sam(
        image_encoder=MobileImageEncoder(),
        prompt_encoder=PromptEncoder(
            embed_dim=EMBED_DIM,
            image_embedding_size=(grid, grid),
            input_image_size=(INPUT_SIZE, INPUT_SIZE),
            mask_in_chans=16,
        ),
        mask_decoder=MaskDecoder(
            transformer_dim=EMBED_DIM,
            transformer=TwoWayTransformer(depth=2, embedding_dim=EMBED_DIM, num_heads=8, mlp_dim=2048),
            iou_head_depth=3,
            iou_head_hidden_dim=EMBED_DIM,
        ),
    )


def rename_mobile(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a published MobileSAM under the names that `build_mobile_sam` gives them.

    Left out is the classifier on which TinyViT was pretrained, which the file still holds and nothing uses.
    """
    leftover = re.compile(r"image_encoder\.(norm_head|head)\.")
    return {_renamed(name): tensor for name, tensor in tensors.items() if not leftover.match(name)}


def _renamed(name: str) -> str:
    encoder = "image_encoder."
    if not name.startswith(encoder) or name.startswith(encoder + "neck."):
        return name
    name = name.removeprefix(encoder)
    name = name.replace("patch_embed.seq.0.", "patch_embed.conv1.").replace("patch_embed.seq.2.", "patch_embed.conv2.")
    # timm downsamples where a stage begins, MobileSAM where the one before ends.
    name = re.sub(r"^layers\.(\d)\.downsample", lambda match: f"stages.{int(match[1]) + 1}.downsample", name)
    name = re.sub(r"^layers\.", "stages.", name)
    return f"{encoder}trunk." + re.sub(r"\.c\.weight$", ".conv.weight", name)
