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

from alignsam_gym.data import drawn_scenes
from alignsam_gym.data.image_files import read_image, read_indices
from alignsam_gym.data.shapes_dataset import TEXTS
from alignsam_gym.data.stored_mask import resize_nearest
from alignsam_gym.data.voc_dataset import VOID
from alignsam_gym.errors import DataError
from alignsam_gym.experiments.pretrain.clicks import hardest_click
from alignsam_gym.experiments.pretrain.held_out_images import divide_folder
from alignsam_gym.experiments.pretrain.training_images import SIZE
from alignsam_gym.foundation.sam.batched_decoder import BatchedDecoder
from alignsam_gym.foundation.tiny.tiny_clip_vocabulary import VOC
from alignsam_gym.transforms import resize_map

if TYPE_CHECKING:
    from alignsam_gym.foundation.clip_model import ClipModel


class Target(NamedTuple):
    """image: uint8 (256, 256, 3) RGB; mask: bool (256, 256); valid: bool (256, 256), false where void; its name."""

    image: np.ndarray
    mask: np.ndarray
    valid: np.ndarray
    name: str

    def iou(self, prediction: np.ndarray) -> float:
        """Return the IoU of a mask, bool (256, 256), with the target's, where that is known."""
        union = ((prediction | self.mask) & self.valid).sum()
        return float((prediction & self.mask & self.valid).sum() / max(1, union))


def scene_targets(count: int, tasks: Sequence[str] = drawn_scenes.TASKS) -> Iterable[Target]:
    """`count` test scenes of each task, every named kind a target of its own."""
    for task in tasks:
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
        classes = resize_nearest(read_indices(mask_file), (SIZE, SIZE))
        present = [k for k in np.unique(classes) if k not in (0, VOID)]
        for group in [present] if merged else [[k] for k in present]:
            names = " and ".join(VOC[k - 1][0] for k in group)
            yield Target(image, np.isin(classes, group), classes != VOID, names)


def saliency_targets(root: Path) -> Iterable[Target]:
    """The development part (`divide_folder`) of a folder with images/ and masks/. Raises DataError."""
    for image, mask, valid in divide_folder(root, "development").tested:
        small = cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        yield Target(small, resize_nearest(mask, (SIZE, SIZE)), resize_nearest(valid, (SIZE, SIZE)), root.name)


@torch.no_grad()
def click_curve(sam: Sam, targets: Iterable[Target], counts: Sequence[int]) -> dict[int, float]:
    """Mean IoU over `targets` after each number of clicks, each click in the middle of the worst error."""
    curve: dict[int, list[float]] = {count: [] for count in counts}
    for target in targets:
        prompted = _PromptedSam(sam, target.image)
        points, labels, prediction, iou = [], [], np.zeros_like(target.mask), 0.0
        for count in range(1, max(counts) + 1):
            if ((prediction != target.mask) & target.valid).any():
                px, py, label = hardest_click(prediction & target.valid, target.mask & target.valid)
                points.append((px, py))
                labels.append(label)
                prediction = prompted.mask(points, labels)
                iou = target.iou(prediction)
            if count in curve:
                curve[count].append(iou)
    return {count: float(np.mean(ious)) for count, ious in curve.items()}


@torch.no_grad()
def first_answers(sam: Sam, targets: Iterable[Target]) -> dict[str, float]:
    """Mean IoU over `targets` of first answers.

    - ``click``: of the single mask, after one click in the middle of the target;
    - ``best_of_three``: of the best of the three masks after that click;
    - ``chosen_of_three``: of the one of the three that the model itself thinks best;
    - ``box``: of the single mask for the box around the target.
    """
    found: list[tuple[float, ...]] = []
    for target in targets:
        prompted, truth = _PromptedSam(sam, target.image), target.mask & target.valid
        x, y, label = hardest_click(np.zeros_like(truth), truth)
        three, predicted = prompted.answer([(x, y)], [label], multimask_output=True)
        ious = [target.iou(mask) for mask in three]
        rows, columns = np.flatnonzero(truth.any(1)), np.flatnonzero(truth.any(0))
        box = torch.tensor([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]], dtype=torch.float32)
        click, boxed = prompted.mask([(x, y)], [label]), prompted.mask([], [], box)
        found.append((target.iou(click), max(ious), ious[int(predicted.argmax())], target.iou(boxed)))
    names = ("click", "best_of_three", "chosen_of_three", "box")
    return dict(zip(names, np.mean(found, 0).tolist(), strict=True))


class _PromptedSam:
    """A model that has encoded an image."""

    def __init__(self, sam: Sam, image: np.ndarray) -> None:
        sam.eval()
        self.decoder = BatchedDecoder(sam.prompt_encoder, sam.mask_decoder)
        pixels = sam.preprocess(torch.from_numpy(image).permute(2, 0, 1)[None].float())
        self.image = self.decoder.prepare_image(sam.image_encoder(pixels))

    def answer(
        self,
        points: Sequence[tuple[float, float]],
        labels: Sequence[int],
        boxes: Tensor | None = None,
        multimask_output: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Masks bool (K, 256, 256), and their IoU as the model predicts it, (K,)."""
        where, what = torch.tensor(points).view(1, -1, 2).float(), torch.tensor(labels).view(1, -1).long()
        logits, predicted = self.decoder.decode(self.image, where, what, multimask_output, boxes)
        logits = F.interpolate(logits, (SIZE, SIZE), mode="bilinear", align_corners=False)
        return (logits[0] > 0).numpy(), predicted[0].numpy()

    def mask(
        self, points: Sequence[tuple[float, float]], labels: Sequence[int], boxes: Tensor | None = None
    ) -> np.ndarray:
        """The single mask, bool (256, 256)."""
        mask: np.ndarray = self.answer(points, labels, boxes)[0][0]
        return mask


def map_scores(clip: ClipModel, targets: Iterable[Target]) -> dict[str, dict[str, float]]:
    """By name: how many targets, and their means of

    - ``pointing``: 1 if the map's maximum is on the target, else 0;
    - ``iou`` of the target and of the map above 0.5;
    - ``chance``: the target's share of the image, which is what a random point's ``pointing`` is on average, and
      exactly the ``iou`` of a map that is high everywhere.

    Maps are brought to 256 × 256 bilinearly; void pixels count nowhere.
    """
    results: dict[str, list[tuple[float, float, float]]] = {}
    for target in targets:
        image, mask, valid, name = target
        similarity = resize_map(clip.similarity([image], [name])[0], (SIZE, SIZE), antialias=True).clamp(0, 1).numpy()
        point = np.where(valid, similarity, -1).argmax()
        iou = target.iou(similarity > 0.5)
        results.setdefault(name, []).append((float(mask.flat[point]), iou, mask[valid].mean()))
    return {
        name: {"count": len(each), **dict(zip(("pointing", "iou", "chance"), np.mean(each, 0).tolist(), strict=True))}
        for name, each in sorted(results.items())
    }
