"""What the embedded CLIP is taught to name, and pictures that show it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from alignsam_gym.data import shapes
from alignsam_gym.data.synthetic import TEXTS
from experiments.pretraining.images import SIZE, VOID, Augmented, Photograph, Photographs, draw_view, recolour

VOC = (
    ("aeroplane", "airplane", "plane"),
    ("bicycle", "bike"),
    ("bird",),
    ("boat", "ship"),
    ("bottle",),
    ("bus",),
    ("car",),
    ("cat", "kitten"),
    ("chair",),
    ("cow", "cattle"),
    ("diningtable", "dining table", "table"),
    ("dog", "puppy"),
    ("horse",),
    ("motorbike", "motorcycle"),
    ("person", "man", "woman", "human"),
    ("pottedplant", "potted plant", "plant"),
    ("sheep", "lamb"),
    ("sofa", "couch"),
    ("train",),
    ("tvmonitor", "tv monitor", "tv", "television", "monitor"),
)
"""Pascal VOC's categories in the order of their class indices, which begin at 1, each with other words for it."""

TASKS = {
    "saliency": (TEXTS["saliency"], "saliency", "salient object"),
    "shadow": (TEXTS["shadow"],),
    "mirror": (TEXTS["mirror"], "mirror"),
    "defocus": (TEXTS["defocus"], "defocus", "out of focus"),
}
"""The drawn tasks whose target is one thing in each scene, and words for it."""

CLOTHES = (
    *(("accessories",), ("bag",), ("belt",), ("blazer",), ("blouse",), ("bodysuit",), ("boots",), ("bra",)),
    *(("bracelet",), ("cape",), ("cardigan",), ("clogs",), ("coat",), ("dress",), ("earrings",), ("flats",)),
    *(("glasses", "spectacles"), ("gloves",), ("hair",), ("hat",), ("heels", "high heels"), ("hoodie",)),
    *(("intimate", "underwear"), ("jacket",), ("jeans",), ("jumper",), ("leggings",), ("loafers",), ("necklace",)),
    *(("panties",), ("pants", "trousers"), ("pumps",), ("purse", "handbag"), ("ring worn on a finger",)),
    *(("romper",), ("sandals",), ("scarf",), ("shirt",), ("shoes",), ("shorts",), ("skin", "face"), ("skirt",)),
    *(("sneakers",), ("socks",), ("stockings",), ("suit",), ("sunglasses",), ("sweater",), ("sweatshirt",)),
    *(("swimwear", "swimsuit"), ("t-shirt",), ("tie", "necktie"), ("tights",), ("top",), ("vest",), ("wallet",)),
    *(("watch", "wristwatch"), ("wedges",)),
)
"""The 58 labels of shared/data's clothing after 0, in its order."""

STREETS = (
    *(("sky",), ("building", "house"), ("pole",), ("road", "street"), ("pavement", "sidewalk"), ("tree",)),
    *(("traffic sign", "sign"), ("fence",), ("car on the road",), ("pedestrian",), ("bicyclist", "cyclist")),
)
"""CamVid's 11 classes in its order."""

NAMES = (*((kind,) for kind in shapes.KINDS), *TASKS.values(), *VOC, *CLOTHES, *STREETS)
"""Everything that the model is taught with masks: tuples of words that mean the same."""

_NUMBERS = {words[0]: number for number, words in enumerate(NAMES)}
_INDEX = {name: number for number, name in enumerate((*shapes.KINDS, *TASKS))}
VOCABULARIES: dict[str, list[int]] = {
    "voc": [_NUMBERS[words[0]] for words in VOC],
    "clothing": [_NUMBERS[words[0]] for words in CLOTHES],
    "streets": [_NUMBERS[words[0]] for words in STREETS],
    "cats": [_NUMBERS["cat"]],
    "people": [_NUMBERS["person"]],
    "horses": [_NUMBERS["horse"]],
}
"""For each kind of labels (`images.Photograph`) the numbers in `NAMES` of its first, second, ... label."""

_POOL = tuple(task for other in TASKS for task in ("named", other, "named"))


class NamedPicture(NamedTuple):
    """What one draw gives the trainer; a batch of them has a leading axis.

    image: uint8 (3, 256, 256), RGB. shares: float32 (names, grid, grid), each name's share of a cell.
    scored: float32 (grid, grid), the labelled share of it. known: bool (names), where the absence of a name is meant.
    view: int64, the number of this image, as it is altered, among all views of the pool.
    """

    image: Tensor
    shares: Tensor
    scored: Tensor
    known: Tensor
    view: Tensor


class NamedScenes(Augmented):
    """A pool of drawn scenes from the split that no agent sees: two of three ``named``, the rest of the other tasks."""

    def __init__(self, count: int, views: int, grid: int, workers: int) -> None:
        super().__init__()
        self.views, self.grid = views, grid
        with ProcessPoolExecutor(workers) as pool:
            drawn = pool.map(_scene, range(count), chunksize=25)
            self.scenes = list(track(drawn, "drawing scenes", count))

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> NamedPicture:
        image, masks, task = self.scenes[index]
        view, rng = draw_view(self.rng, index, self.views)
        if rng.random() < 0.5:
            image, masks = image[:, :, ::-1], {name: mask[:, ::-1] for name, mask in masks.items()}
        shares = np.zeros((len(NAMES), self.grid, self.grid), np.float32)
        for name, mask in masks.items():
            shares[_INDEX[name]] = _cell_share(mask, self.grid)
        known = np.ones(len(NAMES), bool)  # no shadow is in a scene of mirrors, and nothing of VOC's in any
        for name, number in _INDEX.items():
            if name in shapes.KINDS:
                known[number] = task == "named"  # elsewhere they may appear, unnamed
        known[_INDEX["saliency"]] = task == "saliency"
        scored = np.ones((self.grid, self.grid), np.float32)
        return _named(recolour(rng, image), shares, scored, known, view)


def _scene(index: int) -> tuple[np.ndarray, dict[str, np.ndarray], str]:
    task = _POOL[index % len(_POOL)]
    scene = shapes.draw(task, "pretrain", index)
    return np.ascontiguousarray(scene.image.transpose(2, 0, 1)), scene.masks, task


class NamedPhotographs(Photographs):
    """Photographs, cropped, flipped and recoloured, with what they show that has a name.

    views: as `ClickedPhotographs` has of the same photographs, whose views these are.
    """

    def __init__(self, photographs: Sequence[Photograph], views: int, grid: int) -> None:
        super().__init__(photographs)
        self.views, self.grid = views, grid

    def __getitem__(self, index: int) -> NamedPicture:
        view, rng = draw_view(self.rng, index, self.views)
        crop, labels, _ = self.crop(rng, index, whole=view % self.views == 0)
        image = recolour(rng, crop.transpose(2, 0, 1))
        names = VOCABULARIES[self.photographs[index].vocabulary]
        shares = np.zeros((len(NAMES), self.grid, self.grid), np.float32)
        for label in set(np.unique(labels).tolist()) - {0, VOID}:
            shares[names[label - 1]] = _cell_share(labels == label, self.grid)
        known = np.zeros(len(NAMES), bool)  # whether a photograph shows a shadow, nobody has said
        known[names] = True
        return _named(image, shares, _cell_share(labels != VOID, self.grid), known, view)


def _named(image: np.ndarray, shares: np.ndarray, scored: np.ndarray, known: np.ndarray, view: int) -> NamedPicture:
    parts = (np.ascontiguousarray(image), shares, scored, known)
    return NamedPicture(*map(torch.from_numpy, parts), torch.tensor(view))


def _cell_share(mask: np.ndarray, grid: int) -> np.ndarray:
    """float32 (grid, grid): the share of each cell that a mask, bool (256, 256), covers."""
    side = SIZE // grid
    return mask.reshape(grid, side, grid, side).mean((1, 3), dtype=np.float32)
