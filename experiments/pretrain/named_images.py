"""Images with the names of what they show, for the embedded CLIP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from alignsam_gym.data import drawn_scenes
from alignsam_gym.data.voc_dataset import VOID
from alignsam_gym.experiments.pretrain.names import TAUGHT, VOCABULARIES
from alignsam_gym.experiments.pretrain.training_images import (
    SIZE,
    DrawnImages,
    Photograph,
    Photographs,
    draw_view,
    recolour,
)
from alignsam_gym.foundation.tiny.tiny_clip_vocabulary import TASKS

_INDEX = {name: number for number, name in enumerate((*drawn_scenes.KINDS, *TASKS))}
_POOL = tuple(task for other in TASKS for task in ("named", other, "named"))


class NamedPicture(NamedTuple):
    """What one draw gives the trainer; a batch of them has a leading axis.

    image: uint8 (3, 256, 256), RGB. shares: float32 (names, grid, grid), each name's share of a cell.
    valid: float32 (grid, grid), the labelled share of it. known: bool (names), where the absence of a name is meant.
    view: int64, the number of this view among those of all images.
    """

    image: Tensor
    shares: Tensor
    valid: Tensor
    known: Tensor
    view: Tensor


class NamedScenes(DrawnImages):
    """A pool of drawn scenes from the split that no agent sees: two of three ``named``, the rest of the other tasks."""

    def __init__(self, count: int, views: int, grid: int, workers: int) -> None:
        super().__init__(_scene, count, workers)
        self.views, self.grid = views, grid

    def __getitem__(self, index: int) -> NamedPicture:
        image, masks, task = self.scenes[index]
        view, rng = draw_view(self.rng, index, self.views)
        if rng.random() < 0.5:
            image, masks = image[:, :, ::-1], {name: mask[:, ::-1] for name, mask in masks.items()}
        shares = np.zeros((len(TAUGHT), self.grid, self.grid), np.float32)
        for name, mask in masks.items():
            shares[_INDEX[name]] = _cell_share(mask, self.grid)
        known = np.ones(len(TAUGHT), bool)  # no shadow is in a scene of mirrors, and nothing of VOC's in any
        for name, number in _INDEX.items():
            if name in drawn_scenes.KINDS:
                known[number] = task == "named"  # elsewhere they may appear, unnamed
        known[_INDEX["saliency"]] = task == "saliency"
        valid = np.ones((self.grid, self.grid), np.float32)
        return _named_picture(recolour(rng, image), shares, valid, known, view)


def _scene(index: int) -> tuple[np.ndarray, dict[str, np.ndarray], str]:
    task = _POOL[index % len(_POOL)]
    scene = drawn_scenes.draw_scene(task, "pretrain", index)
    return np.ascontiguousarray(scene.image.transpose(2, 0, 1)), scene.masks, task


class NamedPhotographs(Photographs):
    """Photographs, cropped, flipped and recoloured, with what they show that has a name.

    left_out: the places in `TAUGHT` of names whose masks are void.
    """

    def __init__(self, photographs: Sequence[Photograph], views: int, grid: int, left_out: Sequence[int] = ()) -> None:
        super().__init__(photographs)
        self.views, self.grid, self.left_out = views, grid, list(left_out)

    def __getitem__(self, index: int) -> NamedPicture:
        view, rng = draw_view(self.rng, index, self.views)
        crop, labels, _ = self.crop(rng, index, whole=view % self.views == 0)
        image = recolour(rng, crop.transpose(2, 0, 1))
        names = VOCABULARIES[self.photographs[index].vocabulary]
        labels[np.isin(labels, 1 + np.flatnonzero(np.isin(names, self.left_out)))] = VOID
        shares = np.zeros((len(TAUGHT), self.grid, self.grid), np.float32)
        for label in set(np.unique(labels).tolist()) - {0, VOID}:
            shares[names[label - 1]] = _cell_share(labels == label, self.grid)
        known = np.zeros(len(TAUGHT), bool)  # whether a photograph shows a shadow, nobody has said
        known[names] = True
        return _named_picture(image, shares, _cell_share(labels != VOID, self.grid), known, view)


def _named_picture(
    image: np.ndarray, shares: np.ndarray, valid: np.ndarray, known: np.ndarray, view: int
) -> NamedPicture:
    parts = (np.ascontiguousarray(image), shares, valid, known, np.array(view))
    return NamedPicture(*map(torch.from_numpy, parts))


def _cell_share(mask: np.ndarray, grid: int) -> np.ndarray:
    """float32 (grid, grid): the share of each cell that a mask, bool (256, 256), covers."""
    side = SIZE // grid
    shares: np.ndarray = mask.reshape(grid, side, grid, side).mean((1, 3), dtype=np.float32)
    return shares
