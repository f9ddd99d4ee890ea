"""Held-out scores: a promptable model's IoU after oracle clicks, and how well CLIP's maps show what is named."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import torch
from segment_anything.modeling import Sam
from torch.nn import functional as F

from alignsam_gym.data import drawn_scenes
from alignsam_gym.data.image_files import read_image, read_indices
from alignsam_gym.data.shapes_dataset import TEXTS
from alignsam_gym.data.voc_dataset import VOID
from alignsam_gym.errors import DataError
from alignsam_gym.experiments.pretrain.clicks import hardest_click
from alignsam_gym.experiments.pretrain.training_images import SIZE
from alignsam_gym.foundation.sam.batched_decoder import decode
from alignsam_gym.foundation.tiny.tiny_clip_vocabulary import VOC
from alignsam_gym.transforms import resize_map

if TYPE_CHECKING:
    from alignsam_gym.foundation.clip_surgery import ClipSurgery


class Target(NamedTuple):
    """image: uint8 (256, 256, 3) RGB; mask: bool (256, 256); valid: bool (256, 256), false where void; its name."""

    image: np.ndarray
    mask: np.ndarray
    valid: np.ndarray
    name: str


def scene_targets(count: int) -> Iterable[Target]:
    """`count` test scenes of each task, every named kind a target of its own."""
    for task in drawn_scenes.TASKS:
        for index in range(count):
            scene = drawn_scenes.draw_scene(task, "test", index)
            for name, mask in scene.masks.items():
                yield Target(scene.image, mask, np.ones_like(mask), TEXTS.get(name, name))


def voc_files(root: Path) -> list[tuple[Path, Path]]:
    """Images of VOC 2012 val, and their masks. Raises DataError unless all are there."""
    listed = root / "ImageSets/Segmentation/val.txt"
    try:
        names = listed.read_text().split()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{listed} cannot be read ({error}); set voc_val to the folder VOCdevkit/VOC2012.") from error
    files = [(root / "JPEGImages" / f"{name}.jpg", root / "SegmentationClass" / f"{name}.png") for name in names]
    if missing := [file for pair in files for file in pair if not file.is_file()]:
        raise DataError(f"{missing[0]} is missing, which {listed} lists; set voc_val to the whole VOCdevkit/VOC2012.")
    return files


def voc_targets(root: Path, merged: bool) -> Iterable[Target]:
    """VOC 2012 val; a target is an image's whole foreground if `merged`, else each class in it. Raises DataError."""
    for image_file, mask_file in voc_files(root):
        image = cv2.resize(read_image(image_file), (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        classes = cv2.resize(read_indices(mask_file), (SIZE, SIZE), interpolation=cv2.INTER_NEAREST)
        present = [k for k in np.unique(classes) if k not in (0, VOID)]
        for group in [present] if merged else [[k] for k in present]:
            names = " and ".join(VOC[k - 1][0] for k in group)
            yield Target(image, np.isin(classes, group), classes != VOID, names)


@torch.no_grad()
def click_curve(sam: Sam, targets: Iterable[Target], counts: Sequence[int]) -> dict[int, float]:
    """Mean IoU over `targets` after each number of clicks, each click in the middle of the worst error."""
    sam.eval()
    curve: dict[int, list[float]] = {count: [] for count in counts}
    for image, mask, valid, _ in targets:
        x = sam.preprocess(torch.from_numpy(image).permute(2, 0, 1)[None].float())
        embedding = sam.image_encoder(x)
        points, labels, prediction, iou = [], [], np.zeros_like(mask), 0.0
        for count in range(1, max(counts) + 1):
            if ((prediction != mask) & valid).any():
                px, py, label = hardest_click(prediction & valid, mask & valid)
                points.append((px, py))
                labels.append(label)
                logits, _ = decode(
                    sam.prompt_encoder,
                    sam.mask_decoder,
                    embedding,
                    torch.tensor([points], dtype=torch.float32),
                    torch.tensor([labels]),
                )
                logits = F.interpolate(logits, (SIZE, SIZE), mode="bilinear", align_corners=False)
                prediction = (logits[0, 0] > 0).numpy()
                iou = (prediction & mask & valid).sum() / ((prediction | mask) & valid).sum()
            if count in curve:
                curve[count].append(float(iou))
    return {count: float(np.mean(ious)) for count, ious in curve.items()}


def map_scores(clip: ClipSurgery, targets: Iterable[Target]) -> dict[str, dict[str, float]]:
    """By name: how many targets, and their means of

    - ``pointing``: 1 if the map's maximum is on the target, else 0;
    - ``iou`` of the target and of the map above 0.5;
    - ``chance``: the target's share of the image, which is what a random point's ``pointing`` is on average, and
      exactly the ``iou`` of a map that is high everywhere.

    Maps are brought to 256 × 256 bilinearly; void pixels count nowhere.
    """
    results: dict[str, list[tuple[float, float, float]]] = {}
    for image, mask, valid, name in targets:
        similarity = resize_map(clip.similarity([image], [name])[0], (SIZE, SIZE), antialias=True).clamp(0, 1).numpy()
        point = np.where(valid, similarity, -1).argmax()
        high = similarity > 0.5
        iou = (high & mask & valid).sum() / ((high | mask) & valid).sum()
        results.setdefault(name, []).append((float(mask.flat[point]), float(iou), mask[valid].mean()))
    return {
        name: {"count": len(each), **dict(zip(("pointing", "iou", "chance"), np.mean(each, 0).tolist(), strict=True))}
        for name, each in sorted(results.items())
    }
