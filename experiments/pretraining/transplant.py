"""A beginning for the embedded SAM: all but the deep half of its predecessor's encoder, which the backbone replaces.

    python -m experiments.pretraining.transplant <predecessor's weights> <output> --photographs <folder>

The predecessor (revision 027fc0b) was a residual network over strides 2 to 32, merged at stride 8. Its fine half, its
merging layers and its decoder are kept; the projections of the backbone's stages are those that, by linear regression
over photographs and drawn scenes, best give what its stages of stride 16 and 32 gave.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer
from safetensors.torch import load_file, save_file
from segment_anything.modeling import Sam
from torch import Tensor, nn
from torch.nn import functional as F

from alignsam_gym.foundation.tiny.backbone import CHANNELS, PIXEL_MEAN, PIXEL_STD
from alignsam_gym.foundation.tiny.model import EMBED_DIM, TinyImageEncoder, _conv, _Residual, build_tiny_sam
from experiments.pretraining.backbone import folded, published
from experiments.pretraining.images import ClickedPhotographs, ClickedScenes, voc_photographs

_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # of the predecessor's input, SAM's own
_RENAMED = {"merge": "neck.merge", "neck": "neck.out"}
_RIDGE = 1e-2
_CELLS = 64  # of an image, that the regression sees


class Deep(nn.Module):
    """The predecessor's stages of stride 16 and 32. Input: (B, 96, 32, 32). Output: (B, 128, 32, 32)."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            [
                nn.Sequential(_conv(96, 192, stride=2), _Residual(192), _Residual(192)),
                nn.Sequential(_conv(192, 256, stride=2), _Residual(256)),
            ]
        )
        self.laterals = nn.ModuleList(nn.Conv2d(width, EMBED_DIM, 1) for width in (192, 256))

    def forward(self, x: Tensor) -> Tensor:
        merged = 0.0
        for stage, lateral in zip(self.stages, self.laterals, strict=True):
            x = stage(x)
            merged = merged + F.interpolate(lateral(x), (32, 32), mode="bilinear", align_corners=False)
        return merged


def divided(before: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The predecessor's weights under their names in `build_tiny_sam`, and those of `Deep`."""
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


def take_pixels_of_the_backbone(stem: nn.Sequential) -> None:
    """Let the predecessor's first convolution be given (x − 127) / 128 for the pixels that it was trained with."""
    convolution, norm = stem[0], stem[1]
    offset = (PIXEL_MEAN - torch.tensor(_MEAN)) / torch.tensor(_STD)
    norm.running_mean -= (convolution.weight.sum((2, 3)) * offset).sum(1)
    convolution.weight *= (PIXEL_STD / torch.tensor(_STD))[:, None, None]


def regress(inputs: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
    """Weight (o, i) and bias (o,) of the ridge regression of outputs (n, o) on inputs (n, i)."""
    centre, middle = inputs.mean(0), outputs.mean(0)
    x = (inputs - centre).double()
    gram = x.T @ x / len(x) + _RIDGE * torch.eye(x.shape[1], dtype=torch.double)
    weight = torch.linalg.solve(gram, x.T @ (outputs - middle).double() / len(x)).T.float()
    return weight, middle - weight @ centre


def images(photographs: Path, count: int) -> Tensor:
    """`count` images, half photographs, half drawn scenes: uint8 (count, 3, 256, 256)."""
    scenes = ClickedScenes(count // 2, 1, 1, 1)
    taken = ClickedPhotographs(voc_photographs(photographs), 2, 1)
    chosen = torch.randperm(len(taken), generator=torch.Generator().manual_seed(0))[: count // 2]
    return torch.stack([scenes[k].image for k in range(count // 2)] + [taken[k].image for k in chosen.tolist()])


@torch.no_grad()
def transplanted(before: dict[str, Tensor], shown: Tensor) -> Sam:
    sam, deep = build_tiny_sam(), Deep().eval()
    encoder = sam.image_encoder
    assert isinstance(encoder, TinyImageEncoder)
    kept, rest = divided(before)
    missing, unknown = sam.load_state_dict(kept, strict=False)
    assert not unknown
    assert all(".backbone." in k or ".neck.laterals." in k or ".merge.2." in k for k in missing)
    deep.load_state_dict(rest)
    encoder.backbone.load_state_dict(folded(published()).state_dict())
    take_pixels_of_the_backbone(encoder.detail.stages[0])
    sam.eval()
    inputs, outputs = [], []
    generator = torch.Generator().manual_seed(0)
    for part in shown.split(16):
        x = sam.preprocess(part.float())
        eighths = x
        for stage in encoder.detail.stages:
            eighths = stage(eighths)
        stages = [F.interpolate(s, (32, 32), mode="bilinear", align_corners=False) for s in encoder.backbone(x)[1:]]
        cells = torch.randperm(1024, generator=generator)[:_CELLS]
        for store, each in ((inputs, torch.cat(stages, 1)), (outputs, deep(eighths))):
            store.append(each.flatten(2)[:, :, cells].transpose(1, 2).flatten(0, 1))
    given, wanted = torch.cat(inputs), torch.cat(outputs)
    weight, bias = regress(given, wanted)
    error = (given @ weight.T + bias - wanted).var() / wanted.var()
    typer.echo(f"the backbone leaves {float(error):.2f} of the variance of the deep stages unexplained")
    for lateral, some in zip(encoder.neck.laterals, weight.split(list(CHANNELS[1:]), dim=1), strict=True):
        lateral.weight[:], lateral.bias[:] = some[:, :, None, None], bias / len(CHANNELS[1:])
    return sam


def main(
    before: Path,
    output: Path,
    photographs: Annotated[Path, typer.Option(help="Folder with JPEGImages/ and SegmentationClassAug/.")],
    count: int = 800,
) -> None:
    """Write the new model's first weights as float16 safetensors."""
    sam = transplanted(load_file(before), images(photographs, count))
    halves = {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in sam.state_dict().items()}
    save_file(halves, output)


if __name__ == "__main__":
    typer.run(main)
