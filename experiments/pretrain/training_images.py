"""Images to learn from, drawn scenes and real photographs, augmented; and targets on them to click on."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from rich.progress import track
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from alignsam_gym.data import drawn_scenes
from alignsam_gym.data.image_files import read_image, read_indices
from alignsam_gym.data.voc_dataset import VOID
from alignsam_gym.errors import DataError

SIZE = 256


class Picture(NamedTuple):
    """What one draw gives the trainer; a batch of them has a leading axis.

    image: uint8 (3, 256, 256), RGB. targets: bool (objects, 256, 256).
    classes: uint8 (256, 256), VOC's class index for photographs; all void for drawn scenes.
    """

    image: Tensor
    targets: Tensor
    classes: Tensor


class AugmentedImages(Dataset[Any]):
    """Images that are altered at each draw, by a generator of each worker's own (`seed_worker`)."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng()

    def __len__(self) -> int:
        raise NotImplementedError


class ClickedScenes(AugmentedImages):
    """A pool of drawn scenes, the five tasks in turn, from the split that no agent sees."""

    def __init__(self, count: int, targets: int, workers: int) -> None:
        super().__init__()
        self.targets = targets
        with ProcessPoolExecutor(workers) as pool:
            drawn = pool.map(_packed_scene, range(count), chunksize=25)
            self.scenes = list(track(drawn, "drawing scenes", count))

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> Picture:
        rng = self.rng
        image, packed, named = self.scenes[index % len(self.scenes)]
        masks = np.unpackbits(packed, axis=1).reshape(-1, SIZE, SIZE)
        # Photographs crop and shift; a drawn scene is already one of endlessly many and is only turned.
        turns, flip = int(rng.integers(4)), rng.random() < 0.5
        stack = np.concatenate([image, masks], 0)
        stack = np.rot90(stack[:, :, ::-1] if flip else stack, turns, (1, 2))
        image, masks = stack[:3], stack[3:].astype(bool)
        chosen = []
        for _ in range(self.targets):
            kind = rng.random()
            if kind < 0.6 or len(masks) == named:
                chosen.append(masks[rng.integers(named)])
            elif kind < 0.9 or len(masks) < named + 2:
                chosen.append(masks[rng.integers(named, len(masks))])
            else:
                chosen.append(masks[rng.choice(np.arange(named, len(masks)), 2, replace=False)].any(0))
        return _picture(recolour(rng, image), chosen, np.full((SIZE, SIZE), VOID, np.uint8))


def _packed_scene(index: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Scene `index` as image (3, H, W), bit-packed masks (targets first), and the number of targets."""
    task = drawn_scenes.TASKS[index % len(drawn_scenes.TASKS)]
    scene = drawn_scenes.draw_scene(task, "pretrain", index)
    objects = [mask for mask in scene.objects if mask.mean() > 0.003]
    masks = np.stack([*scene.masks.values(), *objects]).reshape(-1, SIZE * SIZE)
    return np.ascontiguousarray(scene.image.transpose(2, 0, 1)), np.packbits(masks, axis=1), len(scene.masks)


class Photographs(AugmentedImages):
    """Real photographs with class-index masks."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        masks = sorted((root / "SegmentationClassAug").glob("*.png"))
        if not masks:
            raise DataError(f"There is no mask in {root / 'SegmentationClassAug'}: set photographs to their root.")
        self.pairs = []
        for mask in track(masks, "reading photographs"):
            image = read_image(root / "JPEGImages" / f"{mask.stem}.jpg")
            self.pairs.append((image, read_indices(mask)))

    def __len__(self) -> int:
        return len(self.pairs)

    def crop(self, index: int) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        """A crop that shows an object if one is found: uint8 (256, 256, 3), its classes, and each class's mask."""
        image, classes = self.pairs[index]
        for attempt in range(6):
            crop, labels = _random_crop(self.rng, image, classes, whole=attempt == 5)
            masks = _class_masks(labels)
            if masks:
                break
        return crop, labels, masks


class ClickedPhotographs(Photographs):
    """Photographs, cropped, flipped and recoloured, and some of their objects as targets."""

    def __init__(self, root: Path, targets: int) -> None:
        super().__init__(root)
        self.targets = targets

    def __getitem__(self, index: int) -> Picture:
        rng = self.rng
        crop, labels, masks = self.crop(index)
        chosen = [self._target(rng, masks) for _ in range(self.targets)]
        return _picture(recolour(rng, crop.transpose(2, 0, 1)), chosen, labels)

    def _target(self, rng: np.random.Generator, masks: list[np.ndarray]) -> np.ndarray:
        """A class, one connected part of it (much like one instance), or everything that has a class."""
        if not masks:  # a photograph whose only objects are a few pixels
            return np.ones((SIZE, SIZE), bool)
        kind = rng.random()
        if kind < 0.2:
            together: np.ndarray = np.any(masks, axis=0)
            return together
        mask = masks[rng.integers(len(masks))]
        if kind < 0.5:
            _, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
            large = [k for k in range(1, len(stats)) if stats[k, cv2.CC_STAT_AREA] > 0.003 * SIZE * SIZE]
            if large:
                part: np.ndarray = parts == large[rng.integers(len(large))]
                return part
        return mask


def _picture(image: np.ndarray, targets: list[np.ndarray], classes: np.ndarray) -> Picture:
    parts = (np.ascontiguousarray(image), np.stack(targets), classes)
    return Picture(*(torch.from_numpy(part) for part in parts))


def _class_masks(classes: np.ndarray) -> list[np.ndarray]:
    counts = np.bincount(classes.ravel(), minlength=256)
    return [classes == k for k in range(1, VOID) if counts[k] > 0.005 * classes.size]


def _random_crop(
    rng: np.random.Generator, image: np.ndarray, classes: np.ndarray, whole: bool
) -> tuple[np.ndarray, np.ndarray]:
    """A crop of 25% to 100% of the area, perhaps mirrored, at 256 × 256."""
    height, width = classes.shape
    area, aspect = (1.0, 1.0) if whole else (rng.uniform(0.25, 1.0), np.exp(rng.uniform(-0.3, 0.3)))
    w, h = (min(1.0, np.sqrt(area * aspect)) * width, min(1.0, np.sqrt(area / aspect)) * height)
    x, y = rng.uniform(0, width - w), rng.uniform(0, height - h)
    scale = np.array([[SIZE / w, 0, -x * SIZE / w], [0, SIZE / h, -y * SIZE / h]])
    if rng.random() < 0.5:
        scale[0] = [-scale[0, 0], 0, SIZE - 1 - scale[0, 2]]
    crop = cv2.warpAffine(image, scale, (SIZE, SIZE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    labels = cv2.warpAffine(classes, scale, (SIZE, SIZE), flags=cv2.INTER_NEAREST, borderValue=VOID)
    return crop, labels


def recolour(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Random brightness, contrast, saturation and white balance of uint8 (3, H, W)."""
    contrast, saturation = rng.uniform(0.75, 1.3), rng.uniform(0.5, 1.4)
    x: np.ndarray = image.astype(np.float32)
    grey = x.mean(0)
    gains = (contrast * rng.uniform(0.9, 1.1, 3)).astype(np.float32)
    x = (grey + saturation * (x - grey) - 127) * gains[:, None, None] + 127 + rng.uniform(-20, 20)
    return np.clip(x, 0, 255).astype(np.uint8)


def seed_worker(_: int) -> None:
    """For ``DataLoader(worker_init_fn=...)``: each worker's data set draws from a stream of its own."""
    info = get_worker_info()
    assert info is not None
    assert isinstance(info.dataset, AugmentedImages)
    info.dataset.rng = np.random.default_rng(info.seed)
