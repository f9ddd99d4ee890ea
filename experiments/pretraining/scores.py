"""Held-out scores: a promptable model's IoU after oracle clicks, and how well CLIP's maps show what is named."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import torch
from segment_anything.modeling import Sam
from torch import Tensor
from torch.nn import functional as F

from alignsam_gym.data import shapes
from alignsam_gym.data.images import read_image, read_indices
from alignsam_gym.data.synthetic import TEXTS
from alignsam_gym.errors import DataError
from alignsam_gym.foundation.decoder import BatchedDecoder
from experiments.pretraining import held_out
from experiments.pretraining.clicks import hardest_click
from experiments.pretraining.images import SIZE, VOID
from experiments.pretraining.names import VOC

if TYPE_CHECKING:
    from alignsam_gym.foundation.clip_surgery import TextMaps


class Target(NamedTuple):
    """image: uint8 (256, 256, 3) RGB; mask: bool (256, 256); scored: bool (256, 256), false where void; its name."""

    image: np.ndarray
    mask: np.ndarray
    scored: np.ndarray
    name: str

    def iou(self, prediction: np.ndarray) -> float:
        """Of a mask, bool (256, 256), with the target's where that is known."""
        union = ((prediction | self.mask) & self.scored).sum()
        return float((prediction & self.mask & self.scored).sum() / max(1, union))


def scene_targets(count: int, tasks: Sequence[str] = shapes.TASKS) -> Iterable[Target]:
    """`count` test scenes of each task, every named kind a target of its own."""
    for task in tasks:
        for index in range(count):
            scene = shapes.draw(task, "test", index)
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


def saliency_targets(root: Path) -> Iterable[Target]:
    """The test part (`held_out`) of a folder with images/ and masks/. Raises DataError."""
    for image, mask, scored in held_out.binary(root).tested:
        small = cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        masks = (cv2.resize(m.astype(np.uint8), (SIZE, SIZE), interpolation=cv2.INTER_NEAREST) for m in (mask, scored))
        yield Target(small, *(m.astype(bool) for m in masks), root.name)


@torch.no_grad()
def click_curve(sam: Sam, targets: Iterable[Target], counts: Sequence[int]) -> dict[int, float]:
    """Mean IoU over `targets` after each number of clicks, each click in the middle of the worst error."""
    curve: dict[int, list[float]] = {count: [] for count in counts}
    for target in targets:
        prompted = _Prompted(sam, target)
        points, labels, prediction, iou = [], [], np.zeros_like(target.mask), 0.0
        for count in range(1, max(counts) + 1):
            if ((prediction != target.mask) & target.scored).any():
                px, py, label = hardest_click(prediction & target.scored, target.mask & target.scored)
                points.append((px, py))
                labels.append(label)
                prediction = prompted.masks(points, labels)[0]
                iou = target.iou(prediction)
            if count in curve:
                curve[count].append(iou)
    return {count: float(np.mean(ious)) for count, ious in curve.items()}


@torch.no_grad()
def first_answers(sam: Sam, targets: Iterable[Target]) -> dict[str, float]:
    """Mean IoU over `targets` of the first answer: to one click the single mask, the best of the three and the one of
    them that the model itself thinks best; and to the box around the target.
    """
    found: list[tuple[float, ...]] = []
    for target in targets:
        prompted, truth = _Prompted(sam, target), target.mask & target.scored
        x, y, label = hardest_click(np.zeros_like(truth), truth)
        click = [(x, y)], [label]
        three, predicted = prompted.answer(*click, multimask=True)
        ious = [target.iou(mask) for mask in three]
        rows, columns = np.flatnonzero(truth.any(1)), np.flatnonzero(truth.any(0))
        box = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        boxed = prompted.masks([], [], torch.tensor([box], dtype=torch.float32))[0]
        found.append(
            (target.iou(prompted.masks(*click)[0]), max(ious), ious[int(predicted.argmax())], target.iou(boxed))
        )
    names = ("click", "best_of_three", "chosen_of_three", "box")
    return dict(zip(names, np.mean(found, 0).tolist(), strict=True))


class _Prompted:
    """A model that has seen a target's image."""

    def __init__(self, sam: Sam, target: Target) -> None:
        sam.eval()
        self.decoder = BatchedDecoder(sam.prompt_encoder, sam.mask_decoder)
        x = sam.preprocess(torch.from_numpy(target.image).permute(2, 0, 1)[None].float())
        self.image = self.decoder.read(sam.image_encoder(x))

    def answer(
        self,
        points: list[tuple[float, float]],
        labels: list[int],
        boxes: Tensor | None = None,
        multimask: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Masks bool (K, 256, 256), and their IoU as the model predicts it, (K,); K is 3 if `multimask`, else 1."""
        where = torch.tensor(points, dtype=torch.float32).view(1, -1, 2)
        logits, predicted = self.decoder.decode(self.image, where, torch.tensor([labels]).long(), multimask, boxes)
        logits = F.interpolate(logits, (SIZE, SIZE), mode="bilinear", align_corners=False)
        return (logits[0] > 0).numpy(), predicted[0].numpy()

    def masks(self, points: list[tuple[float, float]], labels: list[int], boxes: Tensor | None = None) -> np.ndarray:
        return self.answer(points, labels, boxes)[0]


def map_scores(clip: TextMaps, targets: Iterable[Target]) -> dict[str, dict[str, float]]:
    """By name: how many targets, and their means of

    - ``pointing``: 1 if the map's maximum is on the target, else 0;
    - ``iou`` of the target and of the map above 0.5;
    - ``chance``: the target's share of the image, which is what a random point's ``pointing`` is on average, and
      exactly the ``iou`` of a map that is high everywhere.

    Maps are brought to 256 × 256 bilinearly; void pixels count nowhere.
    """
    from alignsam_gym.foundation.clip_surgery import resize_maps  # open_clip takes seconds to import

    results: dict[str, list[tuple[float, float, float]]] = {}
    for image, mask, scored, name in targets:
        similarity = resize_maps(clip.similarity([image], [name])[0], (SIZE, SIZE)).numpy()
        point = np.where(scored, similarity, -1).argmax()
        high = similarity > 0.5
        iou = (high & mask & scored).sum() / ((high | mask) & scored).sum()
        results.setdefault(name, []).append((float(mask.flat[point]), float(iou), mask[scored].mean()))
    return {
        name: {"count": len(each), **dict(zip(("pointing", "iou", "chance"), np.mean(each, 0).tolist(), strict=True))}
        for name, each in sorted(results.items())
    }
