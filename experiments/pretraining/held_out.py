"""The development data beside VOC (shared/data/README.md), divided by fixed rules on ids.

An image's place is decided by a hash of its id, so that nobody can have chosen it: images in the order of their hashes,
the first 50 are what an SRM learns from, the next 100 the test part; the others are free for choices. Where there are
fewer, two of three images are learned from and the others are the test part.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from alignsam_gym.data.images import read_image, read_indices, read_luminance
from alignsam_gym.errors import DataError

LEARNED, TESTED = 50, 100
ANIMALS = (3, 8, 10, 12, 13, 17)
"""VOC's classes bird, cat, cow, dog, horse and sheep."""

VOID = 255
_DAVIS_TESTED = 3  # videos of each division


class Example(NamedTuple):
    """image: uint8 (H, W, 3) RGB. mask: bool (H, W). scored: bool (H, W), false where void."""

    image: np.ndarray
    mask: np.ndarray
    scored: np.ndarray


class Division(NamedTuple):
    """What is learned from, and what is measured on."""

    learned: list[Example]
    tested: list[Example]


def place(identity: str) -> str:
    """What the order of images is by."""
    return hashlib.sha256(identity.encode()).hexdigest()


def binary(root: Path, group: Callable[[str], str] = str) -> Division:
    """The images and masks of `root`, those of one group on the same side. Raises DataError."""
    files = sorted((root / "images").glob("*.jpg"), key=lambda file: (place(group(file.stem)), file.stem))
    if not files:
        raise DataError(f"There is no image in {root / 'images'}.")
    learned = LEARNED if len(files) >= LEARNED + TESTED else next(_ends_of_groups(files, group, len(files) * 2 // 3))
    chosen = files[:learned], files[learned : learned + TESTED]
    return Division(*([_binary(file, root / "masks" / f"{file.stem}.png") for file in part] for part in chosen))


def _ends_of_groups(files: Sequence[Path], group: Callable[[str], str], least: int) -> Iterable[int]:
    """Numbers of files, at least `least`, after which a group ends."""
    groups = [group(file.stem) for file in files]
    return (k for k in range(least, len(files)) if groups[k] != groups[k - 1])


def scene(identity: str) -> str:
    """The scene of a photograph of defocus_320, of which each has two."""
    return re.sub("_[AB]$", "", identity)


def animals(root: Path) -> Division:
    """VOC's animals as one class, learned from its train images and tested on its val images."""
    splits = [(root / f"ImageSets/Segmentation/{split}.txt").read_text().split() for split in ("train", "val")]
    learned, tested = ([_animals(root, name) for name in sorted(names, key=place)] for names in splits)
    return Division([e for e in learned if e.mask.any()][:LEARNED], [e for e in tested if e.mask.any()])


def _animals(root: Path, name: str) -> Example:
    classes = read_indices(root / "SegmentationClass" / f"{name}.png")
    return Example(read_image(root / "JPEGImages" / f"{name}.jpg"), np.isin(classes, ANIMALS), classes != VOID)


def davis(root: Path) -> list[Division]:
    """Divisions by video, each video tested in one of them, at most."""
    videos = sorted((folder.name for folder in (root / "JPEGImages/480p").iterdir()), key=place)
    frames = {
        video: [_davis(root, file) for file in sorted((root / f"JPEGImages/480p/{video}").iterdir())]
        for video in videos
    }
    divisions = []
    for first in range(0, len(videos) - _DAVIS_TESTED + 1, _DAVIS_TESTED):
        tested = videos[first : first + _DAVIS_TESTED]
        learned = [frame for video in videos if video not in tested for frame in frames[video]]
        divisions.append(Division(learned[:LEARNED], [frame for video in tested for frame in frames[video]]))
    return divisions


def _davis(root: Path, file: Path) -> Example:
    return _binary(file, root / "Annotations/480p" / file.parent.name / f"{file.stem}.png")


def _binary(image: Path, mask: Path) -> Example:
    foreground = read_luminance(mask) > 127
    return Example(read_image(image), foreground, np.ones_like(foreground))
