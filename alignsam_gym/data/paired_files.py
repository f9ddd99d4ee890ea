"""Images and masks in files that are matched by their names."""

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
    """Samples whose image and mask are two files. A mask that is all foreground is warned about, and works.

    Args:
        name: The data set's name.
        pairs: The image file and the mask file of each id.
        threshold: A mask's pixel is foreground if its luminance (0 to 255) is above this.
        invert: Whether to swap foreground and background.
        text: What the masks show. None if it has no name.

    Raises:
        OptionError: If `threshold` or `invert` has a value that makes no sense.
        DataError: When a sample is loaded, if a file cannot be read, the sizes differ, or the mask has no foreground.
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
        luminance = read_luminance(file)
        mask: np.ndarray = (luminance > self.threshold) != self.invert
        if not mask.any():
            raise DataError(
                f"The mask {file} has no foreground: its luminance runs from {luminance.min()} to {luminance.max()}, "
                f"threshold={self.threshold}, invert={self.invert}. Set these to suit it, or remove the pair."
            )
        if mask.all():
            log.warning("The mask %s is foreground everywhere; its image can teach no background.", file)
        return mask


def match_files(
    images: Path, masks: Path, skip: bool, pattern: str = "*", part: slice = slice(None)
) -> dict[str, Pair]:
    """Match images with masks that have the same path below their folder, but for the suffix.

    Args:
        images: The folder of images, searched recursively.
        masks: The folder of masks, searched recursively.
        skip: Whether to leave out, with a warning, what raises `DataError` otherwise: an image without a mask, and one
            of two files with the same path.
        pattern: Pattern (`fnmatch`) of the images' names.
        part: Which of these images to take, in the order of their paths, whether they have masks or not.

    Returns:
        The image file and the mask file for each path without suffix, in the order of the paths.

    Raises:
        DataError: If a folder is missing or holds no image; and in the cases that `skip` forgives.
    """
    image_files = list(_files_by_stem(images, skip, pattern).items())[part]
    mask_files = _files_by_stem(masks, skip)
    unmatched = [(stem, file) for stem, file in image_files if stem not in mask_files]
    if unmatched:
        stem, file = unmatched[0]
        suffixes = "|".join(suffix[1:] for suffix in SUFFIXES)
        more = f" and {len(unmatched) - 1} more" if len(unmatched) > 1 else ""
        raise_or_warn(
            f"The image {file} has no mask {masks / stem}.({suffixes})"
            f"{more}; give every image a mask of the same name, or move it away.",
            skip,
        )
    return {stem: (file, mask_files[stem]) for stem, file in image_files if stem in mask_files}


def check_sizes(image: Path, mask: Path, image_size: tuple[int, int], mask_size: tuple[int, int]) -> None:
    """Raise `DataError`, which names both files, unless their sizes (width, height) are equal."""
    if image_size != mask_size:
        (w, h), (mask_w, mask_h) = image_size, mask_size
        raise DataError(f"{image} is {w}×{h} but its mask {mask} is {mask_w}×{mask_h}; they must agree.")


def with_agreeing_sizes(pairs: Mapping[str, Pair], skip: bool) -> dict[str, Pair]:
    """Return the pairs whose two files state the same size. No pixel is decoded.

    Args:
        pairs: Image files and mask files.
        skip: Whether to leave out the other pairs, with a warning.

    Returns:
        The pairs of equal size, in the same order.

    Raises:
        DataError: If the sizes of a pair differ or cannot be read, unless `skip`.
    """
    kept = {}
    for stem, (image, mask) in pairs.items():
        try:
            check_sizes(image, mask, stated_size(image), stated_size(mask))
            kept[stem] = (image, mask)
        except DataError as error:
            raise_or_warn(str(error), skip)
    return kept


def raise_or_warn(problem: str, skip: bool) -> None:
    """Raise `DataError`, or warn that data is left out if `skip`."""
    if not skip:
        raise DataError(problem)
    log.warning("Left out: %s", problem)


def _files_by_stem(folder: Path, skip: bool, pattern: str = "*") -> dict[str, Path]:
    """Return the image files below a folder by their paths without suffix, in the order of the paths."""
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}; images= and masks= name the two folders below root.")
    files: dict[str, Path] = {}
    for file in sorted(folder.rglob(pattern)):
        if file.suffix.lower() not in SUFFIXES:
            continue
        stem = file.relative_to(folder).with_suffix("").as_posix()
        if stem in files:
            raise_or_warn(f"{files[stem]} and {file} have one name; keep one of them.", skip)
        else:
            files[stem] = file
    if not files:
        raise DataError(f"{folder} holds no PNG, JPEG or BMP file.")
    return files
