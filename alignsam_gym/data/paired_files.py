"""Images and masks that are matched by their names."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from alignsam_gym.data.image_files import SUFFIXES, read_image, read_luminance, stated_size
from alignsam_gym.data.samples import Sample
from alignsam_gym.errors import DataError, OptionError, check_number, check_switch

log = logging.getLogger(__name__)

Pair = tuple[Path, Path]
"""An image file and its mask file."""


class PairedDataset:
    """Samples whose image and mask are two files.

    pairs: id -> image and mask file. threshold: a mask pixel is foreground if its luminance (0–255) is above this.
    invert: foreground is what is *not* above the threshold. text: what the masks show, or None.

    A sample that is asked for raises DataError if a file cannot be read, the sizes differ, or the mask is empty.
    A mask that is all foreground is warned about, and works.
    """

    def __init__(self, name: str, pairs: Mapping[str, Pair], threshold: int, invert: bool, text: str | None) -> None:
        check_number("threshold", threshold)
        check_switch("invert", invert)
        if not 0 <= threshold < 255:
            raise OptionError(f"threshold={threshold} leaves nothing to tell apart; give a luminance from 0 to 254.")
        self.name, self.pairs = name, pairs
        self.ids: Sequence[str] = list(pairs)
        self.threshold, self.invert, self.text = threshold, invert, text

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        image_file, mask_file = self.pairs[self.ids[index]]
        image, mask = read_image(image_file), self._read_mask(mask_file)
        check_sizes(image_file, mask_file, (image.shape[1], image.shape[0]), (mask.shape[1], mask.shape[0]))
        return Sample(self.ids[index], image, mask, text=self.text)

    def _read_mask(self, file: Path) -> np.ndarray:
        level = read_luminance(file)
        mask = (level > self.threshold) != self.invert
        if not mask.any():
            raise DataError(
                f"The mask {file} has no foreground: its luminance runs from {level.min()} to {level.max()}, "
                f"threshold={self.threshold}, invert={self.invert}. Set these to suit it, or remove the pair."
            )
        if mask.all():
            log.warning("The mask %s is foreground everywhere; its image can teach no background.", file)
        return mask


def match_files(
    images: Path, masks: Path, skip: bool, pattern: str = "*", part: slice = slice(None)
) -> dict[str, Pair]:
    """Files of two folders whose paths, without suffix, agree: path -> image and mask, in order.

    pattern: of the images' names, as `fnmatch` has it. part: of these images, whether they have masks or not. skip:
    leave out, with a warning, what would raise otherwise: an image without a mask, and one name borne by two files.
    Raises DataError for these, and for a folder that is missing or holds no picture.
    """
    found, sought = _by_stem(images, skip, pattern), _by_stem(masks, skip)
    found = dict(list(found.items())[part])
    missing = [stem for stem in found if stem not in sought]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise_or_warn(
            f"The image {found[missing[0]]} has no mask {masks / missing[0]}.({'|'.join(s[1:] for s in SUFFIXES)})"
            f"{more}; give every image a mask of the same name, or move it away.",
            skip,
        )
    return {stem: (file, sought[stem]) for stem, file in found.items() if stem in sought}


def check_sizes(image: Path, mask: Path, size: tuple[int, int], mask_size: tuple[int, int]) -> None:
    """Raise DataError unless both sizes, (width, height), agree."""
    if size != mask_size:
        (w, h), (mask_w, mask_h) = size, mask_size
        raise DataError(f"{image} is {w}×{h} but its mask {mask} is {mask_w}×{mask_h}; they must agree.")


def with_agreeing_sizes(pairs: Mapping[str, Pair], skip: bool) -> dict[str, Pair]:
    """The pairs whose headers state one size, before any pixel is decoded; DataError for others, unless `skip`."""
    kept = {}
    for stem, (image, mask) in pairs.items():
        try:
            check_sizes(image, mask, stated_size(image), stated_size(mask))
            kept[stem] = (image, mask)
        except DataError as error:
            raise_or_warn(str(error), skip)
    return kept


def raise_or_warn(problem: str, skip: bool) -> None:
    """Warn of data that are left out, or raise DataError."""
    if not skip:
        raise DataError(problem)
    log.warning("Left out: %s", problem)


def _by_stem(folder: Path, skip: bool, pattern: str = "*") -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}; images= and masks= name the two folders below root.")
    files: dict[str, Path] = {}
    for file in sorted(folder.rglob(pattern)):
        if file.suffix.lower() in SUFFIXES:
            stem = file.relative_to(folder).with_suffix("").as_posix()
            if stem in files:
                raise_or_warn(f"{files[stem]} and {file} have one name; keep one of them.", skip)
            else:
                files[stem] = file
    if not files:
        raise DataError(f"{folder} holds no PNG, JPEG or BMP file.")
    return files
