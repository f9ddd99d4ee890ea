"""Photographs, divided by fixed rules on their names. Only of VOC's train images were the embedded models taught.

A hash of an image's name decides its part, so that nobody can have chosen it. Of images in the order of their hashes,
the first 50 are what an SRM learns from, the next 100 are the test part, which is reported and chooses nothing, and up
to 100 further ones are the development part, which defaults are chosen by. Where there are fewer than 150, two of three
are learned from and the others are the test part; in development the former are divided in the same way again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from alignsam_gym.data.image_files import read_image, read_indices
from alignsam_gym.data.mask_rule import MIDDLE, MaskRule
from alignsam_gym.data.voc_dataset import CATEGORIES, VOID
from alignsam_gym.errors import DataError

LEARNED, TESTED = 50, 100
Part = Literal["test", "development"]
_ANIMALS = [CATEGORIES.index(name) + 1 for name in ("bird", "cat", "cow", "dog", "horse", "sheep")]
_VIDEOS_TESTED = 3  # of each division


class Example(NamedTuple):
    """image: uint8 (H, W, 3) RGB. mask: bool (H, W). valid: bool (H, W), false where void."""

    image: np.ndarray
    mask: np.ndarray
    valid: np.ndarray


class Division(NamedTuple):
    """What is learned from, and what is measured on."""

    learned: list[Example]
    tested: list[Example]


def hash_of(name: str) -> str:
    """What images are ordered by."""
    return hashlib.sha256(name.encode()).hexdigest()


def divide_folder(root: Path, part: Part = "test", group_of: Callable[[str], str] = str) -> Division:
    """Divide the images and masks of `root`, those of one group on the same side. Raises DataError."""
    files = sorted((root / "images").glob("*.jpg"), key=lambda file: (hash_of(group_of(file.stem)), file.stem))
    if not files:
        raise DataError(f"There is no image in {root / 'images'}.")
    if len(files) >= LEARNED + TESTED:
        learned = next(_ends_of_groups(files, group_of, LEARNED))
        tested = next(_ends_of_groups(files, group_of, learned + TESTED), len(files))
        development = next(_ends_of_groups(files, group_of, tested + TESTED), len(files))
        chosen = files[:learned], files[learned:tested] if part == "test" else files[tested:development]
    else:
        chosen = _two_of_three(files, group_of)
        if part == "development":
            chosen = _two_of_three(chosen[0], group_of)
    return Division(*([_binary(file, root / "masks" / f"{file.stem}.png") for file in some] for some in chosen))


def _two_of_three(files: list[Path], group_of: Callable[[str], str]) -> tuple[list[Path], list[Path]]:
    count = next(_ends_of_groups(files, group_of, len(files) * 2 // 3))
    return files[:count], files[count:]


def _ends_of_groups(files: Sequence[Path], group_of: Callable[[str], str], least: int) -> Iterator[int]:
    """Yield numbers of files, at least `least`, after which a group ends."""
    groups = [group_of(file.stem) for file in files]
    return (k for k in range(least, len(files)) if groups[k] != groups[k - 1])


def scene_of(name: str) -> str:
    """The scene of a photograph of defocus, of which there are two, ``_A`` and ``_B``."""
    return re.sub("_[AB]$", "", name)


def divide_animals(root: Path) -> Division:
    """VOC's animals as one class, learned from its train images and tested on its val images. Raises DataError.

    The embedded SAM was trained on the former, so that there is no development part.
    """
    lists = [root / f"ImageSets/Segmentation/{split}.txt" for split in ("train", "val")]
    if missing := [file for file in lists if not file.is_file()]:
        raise DataError(f"{missing[0]} is missing.")
    splits = [sorted(file.read_text().split(), key=hash_of) for file in lists]
    learned, tested = ([_animals(root, name) for name in names] for names in splits)
    learned, tested = ([e for e in examples if e.mask.any()] for examples in (learned, tested))
    return Division(learned[:LEARNED], tested)


def _animals(root: Path, name: str) -> Example:
    classes = read_indices(root / "SegmentationClass" / f"{name}.png")
    return Example(read_image(root / "JPEGImages" / f"{name}.jpg"), np.isin(classes, _ANIMALS), classes != VOID)


def divide_davis(root: Path) -> list[Division]:
    """Divide DAVIS by videos several times. Each video is tested in one division at most. Raises DataError."""
    videos = sorted((folder.name for folder in (root / "JPEGImages/480p").glob("*")), key=hash_of)
    if not videos:
        raise DataError(f"There is no video in {root / 'JPEGImages/480p'}.")
    frames = {
        video: [
            _binary(file, root / "Annotations/480p" / video / f"{file.stem}.png")
            for file in sorted((root / f"JPEGImages/480p/{video}").iterdir())
        ]
        for video in videos
    }
    divisions = []
    for first in range(0, len(videos) - _VIDEOS_TESTED + 1, _VIDEOS_TESTED):
        tested = videos[first : first + _VIDEOS_TESTED]
        learned = [frame for video in videos if video not in tested for frame in frames[video]]
        divisions.append(Division(learned[:LEARNED], [frame for video in tested for frame in frames[video]]))
    return divisions


def _binary(image: Path, mask: Path) -> Example:
    foreground = MaskRule(threshold=MIDDLE, prefix=None).read(mask)
    return Example(read_image(image), foreground, np.ones_like(foreground))
