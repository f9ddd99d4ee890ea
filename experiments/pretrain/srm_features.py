"""What the semantic recalibration module can tell from 50 images, by what it sees of them.

    python -m experiments.pretrain.srm_features --data <folder>

For each kind of features an implicit branch, the same for all, learns from the images of a division (`held_out_images`)
without any prompt or mask, and its map is compared with the truth on the others.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import torch
import typer
from torch import Tensor
from torch.nn import functional as F

from alignsam_gym.errors import check_choice
from alignsam_gym.experiments.command_line import exit_on_user_error
from alignsam_gym.experiments.pretrain.held_out_images import (
    Division,
    Example,
    Part,
    divide_animals,
    divide_davis,
    divide_folder,
    scene_of,
)
from alignsam_gym.foundation.encoding.encoded_dataset import fraction_of
from alignsam_gym.foundation.sam.batched_decoder import space_to_depth
from alignsam_gym.foundation.sam.predictor import BatchedSamPredictor, load_sam
from alignsam_gym.foundation.tiny import load_backbone
from alignsam_gym.foundation.tiny.tiny_backbone import PIXEL_MEAN, PIXEL_STD, Backbone, on_one_grid
from alignsam_gym.metrics.logits_iou import logits_iou
from alignsam_gym.srm import SRM, SRMConfig
from alignsam_gym.state import State
from alignsam_gym.transforms import resize_image, resize_map

SIZE = 256
GRID = 32
KINDS = {
    "sam": ("sam",),
    "stages": ("stages",),
    "both": ("sam", "stages"),
    "fine": ("sam", "stages", "quarters", "colour"),
    "colour": ("stages", "colour"),
}
"""Parts of each kind of features."""


class PartsOfFeatures:
    """Computes all parts of the features of images at 256 × 256: float32 (B, c, 32, 32) each."""

    def __init__(self, sam: BatchedSamPredictor, backbone: Backbone) -> None:
        self.sam, self.backbone = sam, backbone

    @torch.no_grad()
    def __call__(self, images: list[np.ndarray]) -> dict[str, Tensor]:
        pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
        quarters, *stages = self.backbone((pixels - PIXEL_MEAN) / PIXEL_STD)
        return {
            "sam": self.sam.encode(images),
            "stages": on_one_grid(stages),
            "quarters": space_to_depth(quarters),
            "colour": colours(images),
        }


def colours(images: list[np.ndarray]) -> Tensor:
    """Compute each cell's mean colour and spread in CIELAB, and the mean less the image's: (B, 9, 32, 32)."""
    lab = np.stack([cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB) for image in images])
    pixels = torch.from_numpy(lab).permute(0, 3, 1, 2) / 50
    means = F.avg_pool2d(pixels, SIZE // GRID)
    spread = (F.avg_pool2d(pixels**2, SIZE // GRID) - means**2).clamp(min=0).sqrt()
    return torch.cat([means, 4 * spread, 2 * (means - means.mean((2, 3), keepdim=True))], 1)


class EncodedExamples:
    """Examples as a branch learns from them: features, and at 256 × 256 the truth and the labelled fraction."""

    def __init__(self, examples: list[Example], features: PartsOfFeatures) -> None:
        parts = [features([resize_image(each.image, (SIZE, SIZE))]) for each in examples]
        self.features = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        self.foreground = _fractions([each.mask & each.valid for each in examples])
        self.valid = _fractions([each.valid for each in examples])

    def states(self, kind: str) -> State:
        """Return the examples' states, without any mask, of a kind of features."""
        embeddings = torch.cat([self.features[name] for name in KINDS[kind]], 1)
        ones = torch.ones_like(embeddings[:, :1])
        return State(embeddings, ones, ones[:, :0])


def _fractions(masks: list[np.ndarray]) -> Tensor:
    """Bring masks, bool (H, W), to float32 (n, 256, 256)."""
    return torch.from_numpy(np.stack([resize_image(mask.astype(np.float32), (SIZE, SIZE)) for mask in masks]))


def learned_iou(
    learned: EncodedExamples, tested: EncodedExamples, kind: str, seed: int, steps: int, config: SRMConfig
) -> float:
    """Return the mean IoU of a branch's maps at 256 × 256 with the truth of images that it has not seen."""
    states, other = learned.states(kind), tested.states(kind)
    srm = SRM("implicit", states.embeddings.shape[1], config, torch.device("cpu"), seed)
    valid = resize_map(learned.valid, (GRID, GRID))
    target = fraction_of(resize_map(learned.foreground, (GRID, GRID)), valid)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        rows = torch.randint(len(target), (config.batch_size,), generator=generator)
        srm.learn(states[rows], target[rows], valid[rows])
    logits = resize_map(srm.logits(other), (SIZE, SIZE))
    return float(logits_iou(logits, fraction_of(tested.foreground, tested.valid), tested.valid).mean())


DIVISIONS: dict[str, Callable[[Path, Part], list[Division]]] = {
    "VOC animals": lambda data, part: [divide_animals(data / "VOCdevkit/VOC2012")] if part == "test" else [],
    "ECSSD": lambda data, part: [divide_folder(data / "ECSSD_320", part)],
    "GDD": lambda data, part: [divide_folder(data / "GDD_320", part)],
    "shadow": lambda data, part: [divide_folder(data / "shadow_320", part)],
    "defocus": lambda data, part: [divide_folder(data / "defocus_320", part, scene_of)],
    "DAVIS": lambda data, part: divide_davis(data / "DAVIS") if part == "test" else [],
}
"""What is measured on, in a folder of data. VOC's animals and DAVIS's few videos have no development part."""


@exit_on_user_error
def main(
    data: Annotated[
        Path, typer.Option(help="Folder with VOCdevkit, DAVIS, and ECSSD_320 and others of images and masks.")
    ],
    sam: Annotated[str, typer.Option(help="The SAM whose embedding is seen: tiny, or a checkpoint.")] = "tiny",
    kinds: Annotated[str, typer.Option(help="Of features, of " + ", ".join(KINDS))] = ",".join(KINDS),
    part: Annotated[Part, typer.Option(help="Of the images.")] = "development",
    only: Annotated[str, typer.Option(help="Part of the names of what is measured on.")] = "",
    steps: int = 300,
    seeds: int = 2,
    blocks: int = 4,
    dilated: bool = True,
    output: Annotated[Path | None, typer.Option(help="JSON file for all figures.")] = None,
) -> None:
    """Print a table of mean IoU, a row for each kind of features, a column for each division."""
    alone = {"folds": 1, "early_stopping_interval": 0}
    config = SRMConfig.of({"blocks": blocks, "dilated": dilated, **alone}, "best")
    features = PartsOfFeatures(load_sam(sam, "cpu"), load_backbone())
    figures: dict[str, dict[str, list[float]]] = {check_choice("kinds", kind, KINDS): {} for kind in kinds.split(",")}
    for name, divide in DIVISIONS.items():
        divisions = divide(data, part) if only.lower() in name.lower() else []
        if not divisions:
            continue
        for row in figures.values():
            row[name] = []
        for division in divisions:
            learned, tested = (EncodedExamples(examples, features) for examples in division)
            for kind, row in figures.items():
                row[name] += [learned_iou(learned, tested, kind, seed, steps, config) for seed in range(seeds)]
                count = f"{len(learned.valid)} and {len(tested.valid)} images"
                typer.echo(f"{name} ({count}) {kind}: {row[name]}", err=True)
        if output:
            output.write_text(json.dumps(figures, indent=2))
    columns = list(next(iter(figures.values())))
    typer.echo("| features | " + " | ".join(columns) + " |\n|" + "---|" * (len(columns) + 1))
    for kind, row in figures.items():
        typer.echo(f"| {kind} | " + " | ".join(f"{np.mean(row[name]):.3f}".lstrip("0") for name in columns) + " |")


if __name__ == "__main__":
    typer.run(main)
