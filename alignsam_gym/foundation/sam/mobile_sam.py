"""MobileSAM (Zhang et al., 2023): `timm`'s TinyViT as image encoder, and SAM's prompt encoder and mask decoder."""

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
    """TinyViT-5M without its last downsampling, and SAM's neck."""

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
        """Encode images.

        Args:
            x: float (B, 3, 16h, 16w), normalised pixels; 1024 × 1024 as MobileSAM was trained.

        Returns:
            The embedding, float (B, 256, h, w).
        """
        embedding: Tensor = self.neck(self.trunk.forward_features(x))
        return embedding


def build_mobile_sam() -> Sam:
    """Build an untrained MobileSAM: input 1024 × 1024 pixels, embedding (256, 64, 64)."""
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
    """Rename the tensors of the published MobileSAM to the names that `build_mobile_sam` uses.

    The classifier with which TinyViT was pretrained is left out: the file still holds it, and nothing uses it.
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
