"""Held-out scores of a promptable model: IoU after each number of oracle clicks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from segment_anything.modeling import Sam
from torch.nn import functional as F

from alignsam_gym.data import shapes
from alignsam_gym.data.images import read_image
from alignsam_gym.foundation.decoder import decode
from experiments.pretraining.clicks import hardest_click
from experiments.pretraining.images import SIZE, VOID

Target = tuple[np.ndarray, np.ndarray, np.ndarray]
"""image uint8 (256, 256, 3) RGB; mask bool (256, 256); scored bool (256, 256), false where void."""


def scene_targets(count: int) -> Iterable[Target]:
    """`count` test scenes of each task, every named kind a target of its own."""
    for task in shapes.TASKS:
        for index in range(count):
            scene = shapes.draw(task, "test", index)
            for mask in scene.masks.values():
                yield scene.image, mask, np.ones_like(mask)


def voc_targets(root: Path, merged: bool) -> Iterable[Target]:
    """VOC 2012 val; a target is an image's whole foreground if `merged`, else each class in it."""
    for name in (root / "ImageSets/Segmentation/val.txt").read_text().split():
        image = cv2.resize(read_image(root / "JPEGImages" / f"{name}.jpg"), (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        classes = np.asarray(Image.open(root / "SegmentationClass" / f"{name}.png"))
        classes = cv2.resize(classes, (SIZE, SIZE), interpolation=cv2.INTER_NEAREST)
        present = [k for k in np.unique(classes) if k not in (0, VOID)]
        for group in [present] if merged else [[k] for k in present]:
            yield image, np.isin(classes, group), classes != VOID


@torch.no_grad()
def click_curve(sam: Sam, targets: Iterable[Target], counts: Sequence[int]) -> dict[int, float]:
    """Mean IoU over `targets` after each number of clicks, each click in the middle of the worst error."""
    sam.eval()
    curve: dict[int, list[float]] = {count: [] for count in counts}
    for image, mask, scored in targets:
        x = sam.preprocess(torch.from_numpy(image).permute(2, 0, 1)[None].float())
        embedding = sam.image_encoder(x)
        points, labels, prediction, iou = [], [], np.zeros_like(mask), 0.0
        for count in range(1, max(counts) + 1):
            if ((prediction != mask) & scored).any():
                px, py, label = hardest_click(prediction & scored, mask & scored)
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
                iou = (prediction & mask & scored).sum() / ((prediction | mask) & scored).sum()
            if count in curve:
                curve[count].append(float(iou))
    return {count: float(np.mean(ious)) for count, ious in curve.items()}
