"""Images to learn from, drawn scenes and real photographs, augmented; and targets on them to click on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from omegaconf import DictConfig
from rich.progress import track
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from alignsam_gym.data import drawn_scenes
from alignsam_gym.data.image_files import read_image, read_indices
from alignsam_gym.data.mask_rule import MIDDLE, MaskRule
from alignsam_gym.data.voc_dataset import VOID
from alignsam_gym.errors import DataError

SIZE = 256


class Picture(NamedTuple):
    """What one draw gives the trainer; a batch of them has a leading axis.

    image: uint8 (3, 256, 256), RGB. targets: bool (objects, 256, 256). valid: bool (256, 256), false where void.
    classes: uint8 (256, 256), VOC's class index for its photographs; all void for everything else.
    view: int64, the number of this view among those of all images.
    """

    image: Tensor
    targets: Tensor
    valid: Tensor
    classes: Tensor
    view: Tensor


class AugmentedImages(Dataset[Any]):
    """Images that are altered at each draw, by a generator of each worker's own (`seed_worker`)."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng()

    def __len__(self) -> int:
        raise NotImplementedError


class DrawnImages(AugmentedImages):
    """A pool of `count` drawn scenes, each made from its number by `draw`, in processes of their own."""

    def __init__(self, draw: Callable[[int], Any], count: int, workers: int) -> None:
        super().__init__()
        with ProcessPoolExecutor(workers) as pool:
            self.scenes = list(track(pool.map(draw, range(count), chunksize=25), "drawing scenes", count))

    def __len__(self) -> int:
        return len(self.scenes)


class ClickedScenes(DrawnImages):
    """A pool of drawn scenes, the five tasks in turn, from the split that no agent sees."""

    def __init__(self, count: int, views: int, targets: int, workers: int) -> None:
        super().__init__(_packed_scene, count, workers)
        self.views, self.targets = views, targets

    def __getitem__(self, index: int) -> Picture:
        image, packed, named = self.scenes[index]
        masks = np.unpackbits(packed, axis=1).reshape(-1, SIZE, SIZE)
        view, rng = draw_view(self.rng, index, self.views)
        # Photographs crop and shift; a drawn scene is already one of endlessly many and is only turned.
        turns, flip = int(rng.integers(4)), rng.random() < 0.5
        stack = np.concatenate([image, masks], 0)
        stack = np.rot90(stack[:, :, ::-1] if flip else stack, turns, (1, 2))
        image, masks = recolour(rng, stack[:3]), stack[3:].astype(bool)
        chosen = [self._target(self.rng, masks, named) for _ in range(self.targets)]
        void = np.full((SIZE, SIZE), VOID, np.uint8)
        return _picture(image, chosen, np.ones((SIZE, SIZE), bool), void, view)

    @staticmethod
    def _target(rng: np.random.Generator, masks: np.ndarray, named: int) -> np.ndarray:
        """Choose one of the first `named` masks, which are the task's, one of the other objects, or two of them."""
        kind = rng.random()
        if kind < 0.6 or len(masks) == named:
            chosen = [rng.integers(named)]
        elif kind < 0.9 or len(masks) < named + 2:
            chosen = [rng.integers(named, len(masks))]
        else:
            chosen = list(rng.choice(np.arange(named, len(masks)), 2, replace=False))
        return np.asarray(masks[chosen].any(0))


def _packed_scene(index: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Scene `index` as image (3, H, W), bit-packed masks (targets first), and the number of targets."""
    task = drawn_scenes.TASKS[index % len(drawn_scenes.TASKS)]
    scene = drawn_scenes.draw_scene(task, "pretrain", index)
    objects = [mask for mask in scene.objects if mask.mean() > 0.003]
    masks = np.stack([*scene.masks.values(), *objects]).reshape(-1, SIZE * SIZE)
    return np.ascontiguousarray(scene.image.transpose(2, 0, 1)), np.packbits(masks, axis=1), len(scene.masks)


class Photograph(NamedTuple):
    """The files of a photograph and of its regions.

    whole: how likely a target is everything that is a region. vocabulary: what the regions' numbers mean, one of
    `names.VOCABULARIES`, or "" for nothing that has a name.
    """

    image: Path
    regions: Path
    whole: float
    vocabulary: str

    def labels(self) -> np.ndarray:
        """Read each pixel's region by number, 0 for none and 255 where void: uint8 (H, W). Raises DataError."""
        if self.vocabulary in _ONE_KIND:
            return MaskRule(threshold=MIDDLE, prefix=None).read(self.regions).astype(np.uint8)
        labels = read_indices(self.regions)
        if self.vocabulary == "streets":
            return np.where(labels == _STREETS_VOID, VOID, labels + 1).astype(np.uint8)
        return labels


_ONE_KIND = ("cats", "people", "horses")
_STREETS_VOID = 11


def all_photographs(config: DictConfig) -> list[Photograph]:
    """List those of `config.photographs`, then those of `config.more_photographs`, if it is given. Raises DataError."""
    found = voc_photographs(Path(config.photographs))
    return found + (more_photographs(Path(config.more_photographs)) if config.more_photographs else [])


def voc_photographs(root: Path) -> list[Photograph]:
    """List photographs with VOC's classes in the folders JPEGImages and SegmentationClassAug. Raises DataError."""
    return _photographs(root, "SegmentationClassAug", 0.2, "voc")


def more_photographs(root: Path) -> list[Photograph]:
    """List photographs of these folders of `root`, each with a folder JPEGImages beside its labels.

    clothing/labels: people, in Clothing Co-Parsing's classes. camvid/labels: streets, in CamVid's classes, 11 being
    void. bsds/segments0 and segments1: regions without names, as two people drew them. cats/masks, people/masks and
    horses/masks: one kind of thing, black and white.

    Raises DataError.
    """
    found = _photographs(root / "clothing", "labels", 0.3, "clothing")
    found += _photographs(root / "camvid", "labels", 0.0, "streets")
    for person in ("segments0", "segments1"):
        found += _photographs(root / "bsds", person, 0.0, "")
    for kind in _ONE_KIND:
        found += _photographs(root / kind, "masks", 0.0, kind)
    return found


def _photographs(root: Path, regions: str, whole: float, vocabulary: str) -> list[Photograph]:
    files = sorted((root / regions).glob("*.png"))
    if not files:
        raise DataError(f"There is no mask in {root / regions}: set photographs or more_photographs to their root.")
    return [Photograph(root / "JPEGImages" / f"{file.stem}.jpg", file, whole, vocabulary) for file in files]


class Photographs(AugmentedImages):
    """Real photographs with regions."""

    def __init__(self, photographs: Sequence[Photograph]) -> None:
        super().__init__()
        self.photographs = photographs

    def __len__(self) -> int:
        return len(self.photographs)

    def crop(
        self, rng: np.random.Generator, index: int, whole: bool
    ) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        """Crop so that a region is shown, if one is found: uint8 (256, 256, 3), its labels, and each region's mask.

        whole: take all of the photograph.
        """
        photograph = self.photographs[index]
        image, regions = read_image(photograph.image), photograph.labels()
        for attempt in range(6):
            crop, labels = _random_crop(rng, image, regions, whole or attempt == 5)
            masks = _class_masks(labels)
            if masks:
                break
        return crop, labels, masks


class ClickedPhotographs(Photographs):
    """Photographs, cropped, flipped and recoloured, and some of their regions as targets."""

    def __init__(self, photographs: Sequence[Photograph], views: int, targets: int) -> None:
        super().__init__(photographs)
        self.views, self.targets = views, targets

    def __getitem__(self, index: int) -> Picture:
        view, rng = draw_view(self.rng, index, self.views)
        crop, labels, masks = self.crop(rng, index, whole=view % self.views == 0)
        image = recolour(rng, crop.transpose(2, 0, 1))
        photograph = self.photographs[index]
        chosen = [self._target(self.rng, masks, photograph.whole) for _ in range(self.targets)]
        classes = labels if photograph.vocabulary == "voc" else np.full_like(labels, VOID)
        return _picture(image, chosen, labels != VOID, classes, view)

    @staticmethod
    def _target(rng: np.random.Generator, masks: list[np.ndarray], whole: float) -> np.ndarray:
        """Choose all regions, two of them, one connected part of one (much like one instance), or one."""
        if not masks:  # a photograph whose only regions are a few pixels
            return np.ones((SIZE, SIZE), bool)
        kind = rng.random()
        if kind < whole:
            together: np.ndarray = np.any(masks, axis=0)
            return together
        mask = masks[rng.integers(len(masks))]
        if kind < whole + 0.1:
            pair: np.ndarray = mask | masks[rng.integers(len(masks))]
            return pair
        if kind < whole + 0.4:
            _, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
            large = [k for k in range(1, len(stats)) if stats[k, cv2.CC_STAT_AREA] > 0.003 * SIZE * SIZE]
            if large:
                part: np.ndarray = parts == large[rng.integers(len(large))]
                return part
        return mask


def draw_view(rng: np.random.Generator, index: int, views: int) -> tuple[int, np.random.Generator]:
    """Draw one of the `views` of image `index`: its number among those of all images, and the generator that alters it.

    A view is always the same image, so that what a frozen network computes of it is kept (`FeatureCache`).
    """
    view = index * views + int(rng.integers(views))
    return view, np.random.default_rng(view)


def _picture(
    image: np.ndarray, targets: list[np.ndarray], valid: np.ndarray, classes: np.ndarray, view: int
) -> Picture:
    parts = (np.ascontiguousarray(image), np.stack(targets), valid, classes, np.array(view))
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
