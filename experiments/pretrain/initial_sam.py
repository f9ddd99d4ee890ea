"""First weights of the embedded SAM: its predecessor's, with the backbone in place of the deep half of the encoder.

    python -m experiments.pretrain.initial_sam <predecessor's weights> <output> --photographs <folder>

The predecessor (``sam_tiny.safetensors`` of revision 027fc0b) was a residual network whose strides 2 to 32 were merged
at stride 8. Its fine half, its merging layers and its decoder are kept. The projections of the backbone's features are
those that, by linear regression over photographs and drawn scenes, best give what its strides 16 and 32 gave.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import torch
import typer
from safetensors.torch import load_file, save_file
from segment_anything.modeling import Sam
from torch import Tensor, nn
from torch.nn import functional as F

from alignsam_gym.experiments.command_line import exit_on_user_error
from alignsam_gym.experiments.pretrain.published_backbone import folded_backbone, published_efficientnet
from alignsam_gym.experiments.pretrain.training_images import ClickedPhotographs, ClickedScenes, voc_photographs
from alignsam_gym.foundation.tiny import half_precision
from alignsam_gym.foundation.tiny.tiny_backbone import CHANNELS, PIXEL_MEAN, PIXEL_STD, on_one_grid
from alignsam_gym.foundation.tiny.tiny_sam import (
    EMBED_DIM,
    ResidualBlock,
    TinyImageEncoder,
    build_tiny_sam,
    conv_norm_relu,
)

_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # of the predecessor's input, SAM's own
_RENAMED = {"merge": "neck.merge", "neck": "neck.out"}
_RIDGE = 1e-2
_CELLS = 64  # of an image, that the regression sees


class DeepStages(nn.Module):
    """The predecessor's stages of stride 16 and 32. Input: (B, 96, 32, 32). Output: (B, 128, 32, 32)."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            [
                nn.Sequential(conv_norm_relu(96, 192, stride=2), ResidualBlock(192), ResidualBlock(192)),
                nn.Sequential(conv_norm_relu(192, 256, stride=2), ResidualBlock(256)),
            ]
        )
        self.laterals = nn.ModuleList(nn.Conv2d(width, EMBED_DIM, 1) for width in (192, 256))

    def forward(self, x: Tensor) -> Tensor:
        merged = torch.zeros(())
        for stage, lateral in zip(self.stages, self.laterals, strict=True):
            x = stage(x)
            merged = merged + F.interpolate(lateral(x), (32, 32), mode="bilinear", align_corners=False)
        return merged


def divide_weights(before: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Divide the predecessor's weights: those that are kept, under their names now, and those of `DeepStages`."""
    kept, deep = {}, {}
    for name, value in before.items():
        part, _, rest = name.removeprefix("image_encoder.").partition(".")
        number, _, inner = rest.partition(".")
        if not name.startswith("image_encoder."):
            kept[name] = value
        elif part == "stem":
            kept[f"image_encoder.detail.stages.0.{rest}"] = value
        elif part == "stages" and int(number) < 2:
            kept[f"image_encoder.detail.stages.{int(number) + 1}.{inner}"] = value
        elif part == "stages":
            deep[f"stages.{int(number) - 2}.{inner}"] = value
        elif part == "laterals" and int(number) < 3:
            kept[f"image_encoder.detail.laterals.{rest}"] = value
        elif part == "laterals":
            deep[f"laterals.{int(number) - 3}.{inner}"] = value
        else:
            kept[f"image_encoder.{_RENAMED[part]}.{rest}"] = value
    return {k: v.float() for k, v in kept.items()}, {k: v.float() for k, v in deep.items()}


def renormalise_input(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """Let the predecessor's first convolution take the backbone's pixels instead of those that it was trained with."""
    offset = (PIXEL_MEAN - torch.tensor(_MEAN)) / torch.tensor(_STD)
    cast(Tensor, norm.running_mean).sub_((convolution.weight.sum((2, 3)) * offset).sum(1))
    convolution.weight.mul_((PIXEL_STD / torch.tensor(_STD))[:, None, None])


def regress(inputs: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return weight (o, i) and bias (o,) of the ridge regression of outputs (n, o) on inputs (n, i)."""
    centre, middle = inputs.mean(0), outputs.mean(0)
    x = (inputs - centre).double()
    gram = x.T @ x / len(x) + _RIDGE * torch.eye(x.shape[1], dtype=torch.double)
    weight = torch.linalg.solve(gram, x.T @ (outputs - middle).double() / len(x)).T.float()
    return weight, middle - weight @ centre


def regression_images(photographs: Path, count: int) -> Tensor:
    """Take `count` images, half drawn scenes, half photographs: uint8 (count, 3, 256, 256)."""
    scenes = ClickedScenes(count // 2, 1, 1, 1)
    taken = ClickedPhotographs(voc_photographs(photographs), 2, 1)
    chosen = torch.randperm(len(taken), generator=torch.Generator().manual_seed(0))[: count // 2]
    return torch.stack([scenes[k].image for k in range(count // 2)] + [taken[k].image for k in chosen.tolist()])


@torch.no_grad()
def transplant(before: dict[str, Tensor], images: Tensor) -> Sam:
    """Make the SAM of the predecessor's weights, by regression over images, uint8 (n, 3, 256, 256)."""
    sam, deep = build_tiny_sam(), DeepStages().eval()
    encoder = cast(TinyImageEncoder, sam.image_encoder)
    kept, rest = divide_weights(before)
    missing, unknown = sam.load_state_dict(kept, strict=False)
    assert not unknown
    assert all(".backbone." in k or ".neck.laterals." in k or ".merge.2." in k for k in missing)
    deep.load_state_dict(rest)
    encoder.backbone.load_state_dict(folded_backbone(published_efficientnet()).state_dict())
    renormalise_input(*cast(nn.Sequential, encoder.detail.stages[0])[:2])
    sam.eval()
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []
    generator = torch.Generator().manual_seed(0)
    for part in images.split(16):
        x = sam.preprocess(part.float())
        eighths = x
        for stage in encoder.detail.stages:
            eighths = stage(eighths)
        stages = on_one_grid(encoder.backbone(x)[1:])
        cells = torch.randperm(1024, generator=generator)[:_CELLS]
        for store, each in ((inputs, stages), (outputs, deep(eighths))):
            store.append(each.flatten(2)[:, :, cells].transpose(1, 2).flatten(0, 1))
    given, wanted = torch.cat(inputs), torch.cat(outputs)
    weight, bias = regress(given, wanted)
    error = (given @ weight.T + bias - wanted).var() / wanted.var()
    typer.echo(f"the backbone leaves {float(error):.2f} of the variance of the deep stages unexplained")
    for lateral, some in zip(encoder.neck.laterals, weight.split(list(CHANNELS[1:]), dim=1), strict=True):
        lateral.load_state_dict({"weight": some[:, :, None, None], "bias": bias / len(CHANNELS[1:])})
    return sam


@exit_on_user_error
def main(
    before: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    output: Path,
    photographs: Annotated[Path, typer.Option(help="Folder with JPEGImages/ and SegmentationClassAug/.")],
    count: int = 800,
) -> None:
    """Write the new model's first weights as float16 safetensors."""
    sam = transplant(load_file(before), regression_images(photographs, count))
    save_file(half_precision(sam), output)


if __name__ == "__main__":
    typer.run(main)
