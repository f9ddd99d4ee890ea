"""Masks written as annotation files that other tools, `CocoDataset` and `YoloDataset` read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from alignsam_gym.data.mask_files import write_file
from alignsam_gym.data.mask_outlines import mask_outlines
from alignsam_gym.data.region_drawing import pycocotools_mask


class CocoExport:
    """Collects masks for one JSON file of COCO's kind, which `save` writes.

    The file lists images, one category and an annotation for each mask that is not empty: its compressed run lengths,
    which are lossless, its area and box, and a ``score``, if it has one. With it the list of annotations is also what
    COCO calls results.

    Args:
        category: What the masks show.

    Raises:
        OptionError: The extra ``coco`` is not installed.
    """

    def __init__(self, category: str) -> None:
        self._coco = pycocotools_mask()
        self._category = {"id": 1, "name": category}
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def add(self, file_name: str, mask: np.ndarray, score: float | None = None) -> None:
        """Add an image and its mask.

        Args:
            file_name: The image's path below the folder of images.
            mask: bool (H, W).
            score: From 0 to 1.
        """
        number = len(self._images) + 1
        height, width = mask.shape
        self._images.append({"id": number, "file_name": file_name, "width": width, "height": height})
        if not mask.any():
            return
        runs = self._coco.encode(np.asfortranarray(mask, dtype=np.uint8))
        annotation = {
            "id": len(self._annotations) + 1,
            "image_id": number,
            "category_id": self._category["id"],
            "segmentation": {"size": [height, width], "counts": runs["counts"].decode("ascii")},
            "area": int(self._coco.area(runs)),
            "bbox": self._coco.toBbox(runs).tolist(),
            "iscrowd": 0,
        }
        self._annotations.append(annotation if score is None else annotation | {"score": score})

    def save(self, file: Path) -> None:
        """Write the file; raise `DataError` if it cannot be written."""
        content = {"images": self._images, "categories": [self._category], "annotations": self._annotations}
        write_file(file, json.dumps(content).encode())


def yolo_label(mask: np.ndarray, score: float | None = None) -> str:
    """Write a mask as YOLO's labels for segmentation, in which `YoloDataset` finds the same mask again.

    Args:
        mask: bool (H, W).
        score: From 0 to 1, as the last number of each line, which labels to learn from must not have.

    Returns:
        A line for each connected part: category 0, then x and y in turn as fractions of the width and height, of
        `mask_outlines`.
    """
    size = mask.shape[::-1]
    ending = "" if score is None else f" {score:.4f}"
    lines = [" ".join(f"{number:.6f}" for number in (points / size).ravel()) for points in mask_outlines(mask)]
    return "".join(f"0 {line}{ending}\n" for line in lines)
