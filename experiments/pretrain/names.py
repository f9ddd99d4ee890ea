"""What the embedded CLIP is taught to name, and pictures that show it."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from alignsam_gym.data import drawn_scenes
from alignsam_gym.data.voc_dataset import VOID
from alignsam_gym.experiments.pretrain.training_images import SIZE, AugmentedImages, Photographs, recolour
from alignsam_gym.foundation.tiny.tiny_clip_vocabulary import NAMES, TASKS

_INDEX = {name: number for number, name in enumerate((*drawn_scenes.KINDS, *TASKS))}
_FIRST_VOC = len(_INDEX)
_POOL = tuple(task for other in TASKS for task in ("named", other, "named"))


class NamedPicture(NamedTuple):
    """What one draw gives the trainer; a batch of them has a leading axis.

    image: uint8 (3, 256, 256), RGB. shares: float32 (names, grid, grid), each name's share of a patch.
    valid: float32 (grid, grid), the labelled share of it. known: bool (names), where the absence of a name is meant.
    """

    image: Tensor
    shares: Tensor
    valid: Tensor
    known: Tensor


class NamedScenes(AugmentedImages):
    """A pool of drawn scenes from the split that no agent sees: two of three ``named``, the rest of the other tasks."""

    def __init__(self, count: int, grid: int, workers: int) -> None:
        super().__init__()
        self.grid = grid
        with ProcessPoolExecutor(workers) as pool:
            drawn = pool.map(_scene, range(count), chunksize=25)
            self.scenes = list(track(drawn, "drawing scenes", count))

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> NamedPicture:
        image, masks, task = self.scenes[index]
        if self.rng.random() < 0.5:
            image, masks = image[:, :, ::-1], {name: mask[:, ::-1] for name, mask in masks.items()}
        shares = np.zeros((len(NAMES), self.grid, self.grid), np.float32)
        for name, mask in masks.items():
            shares[_INDEX[name]] = _patch_share(mask, self.grid)
        known = np.ones(len(NAMES), bool)  # no shadow is in a scene of mirrors, and nothing of VOC's in any
        for name, number in _INDEX.items():
            if name in drawn_scenes.KINDS:
                known[number] = task == "named"  # elsewhere they may appear, unnamed
        known[_INDEX["saliency"]] = task == "saliency"
        valid = np.ones((self.grid, self.grid), np.float32)
        return NamedPicture(*map(torch.from_numpy, (recolour(self.rng, image), shares, valid, known)))


def _scene(index: int) -> tuple[np.ndarray, dict[str, np.ndarray], str]:
    task = _POOL[index % len(_POOL)]
    scene = drawn_scenes.draw_scene(task, "pretrain", index)
    return np.ascontiguousarray(scene.image.transpose(2, 0, 1)), scene.masks, task


class NamedPhotographs(Photographs):
    """Photographs, cropped, flipped and recoloured, with the classes that they show."""

    def __init__(self, root: Path, grid: int) -> None:
        super().__init__(root)
        self.grid = grid

    def __getitem__(self, index: int) -> NamedPicture:
        crop, classes, _ = self.crop(index)
        shares = np.zeros((len(NAMES), self.grid, self.grid), np.float32)
        for number in set(np.unique(classes).tolist()) - {0, VOID}:
            shares[_FIRST_VOC + number - 1] = _patch_share(classes == number, self.grid)
        known = np.arange(len(NAMES)) >= _FIRST_VOC  # whether a photograph shows a shadow, nobody has said
        image = recolour(self.rng, crop.transpose(2, 0, 1))
        return NamedPicture(*map(torch.from_numpy, (image, shares, _patch_share(classes != VOID, self.grid), known)))


def _patch_share(mask: np.ndarray, grid: int) -> np.ndarray:
    """float32 (grid, grid): the share of each patch that a mask, bool (256, 256), covers."""
    side = SIZE // grid
    fractions: np.ndarray = mask.reshape(grid, side, grid, side).mean((1, 3), dtype=np.float32)
    return fractions
