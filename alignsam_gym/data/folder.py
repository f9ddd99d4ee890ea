"""A user's own images and masks."""

from __future__ import annotations

import fnmatch
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from alignsam_gym.data.samples import Sample, groups_of
from alignsam_gym.errors import DataError, OptionError, check_choice

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
_EXIF_ORIENTATION, _QUARTER_TURNS = 0x0112, (5, 6, 7, 8)
log = logging.getLogger(__name__)


class FolderDataset:
    """Pairs of files whose paths, without suffix, agree below the image and the mask folder.

    root: the folder. With ``<root>/train`` and ``<root>/test`` in it, those are the splits; otherwise
        `root` is split here (see `test`).
    split: ``train`` or ``test``.
    images, masks: the two folders below each root, searched recursively for PNG, JPEG and BMP files.
    threshold: a mask pixel is foreground if its luminance (0–255) is above this. A mask with transparency
        whose colours say nothing (all alike) is read from its alpha channel instead.
    invert: foreground is what is *not* above the threshold.
    test: the share of images held out, or patterns (``"dog/*"``) of those that are. Images that share a
        folder below `images` stay on one side, as frames of one video must; a share then counts folders.
    seed: of the held-out share's draw.
    text: what the masks show, for branches that are guided by text.

    Raises DataError for a missing or empty folder, an image without its mask, and sizes that differ; and,
    when the sample is loaded, for an unreadable file and an empty mask. A mask that is all foreground
    is warned about, and works.
    """

    name = "folder"

    def __init__(
        self,
        split: str,
        root: str | Path | None = None,
        images: str = "images",
        masks: str = "masks",
        threshold: int = 127,
        invert: bool = False,
        test: float | Sequence[str] = 0.2,
        seed: int = 0,
        text: str | None = None,
    ) -> None:
        check_choice("split", split, ("train", "test"))
        if root is None:
            raise OptionError("dataset='folder' needs root=<the folder that holds images/ and masks/>.")
        if not 0 <= threshold < 255:
            raise OptionError(f"threshold={threshold} leaves nothing to tell apart; give a luminance from 0 to 254.")
        self.threshold, self.invert, self.text = threshold, invert, text
        base = Path(root).expanduser()
        if not base.is_dir():
            raise DataError(f"There is no folder {base}: root must hold {images}/ and {masks}/, or train/ and test/.")
        presplit = (base / "train" / images).is_dir() and (base / "test" / images).is_dir()
        where = base / split if presplit else base
        self.pairs = _pairs(where / images, where / masks)
        stems = sorted(self.pairs)
        if not presplit:
            held_out = _held_out(stems, test, seed)
            stems = [stem for stem in stems if (stem in held_out) == (split == "test")]
            if not stems:
                raise DataError(
                    f"The {split} split of {base} is empty with test={test!r}; choose another share or patterns."
                )
        self.ids: Sequence[str] = stems
        for stem in stems:
            _check_sizes(*self.pairs[stem])

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        image_file, mask_file = self.pairs[self.ids[index]]
        image = read_image(image_file)
        mask = self._read_mask(mask_file)
        return Sample(self.ids[index], image, mask, text=self.text)

    def _read_mask(self, file: Path) -> np.ndarray:
        level = _luminance(file)
        mask = (level > self.threshold) != self.invert
        if not mask.any():
            raise DataError(
                f"The mask {file} has no foreground: its luminance runs from {level.min()} to {level.max()}, "
                f"threshold={self.threshold}, invert={self.invert}. Set these to suit it, or remove the pair."
            )
        if mask.all():
            log.warning("The mask %s is foreground everywhere; its image can teach no background.", file)
        return mask


def read_image(file: Path) -> np.ndarray:
    """An image file as uint8 (H, W, 3), RGB, turned as its EXIF orientation says. Raises DataError."""
    return np.asarray(_open(file).convert("RGB"))


def _luminance(file: Path) -> np.ndarray:
    """uint8 (H, W); the alpha channel's where the colours are all alike and the alpha is not."""
    picture = _open(file)
    grey = np.asarray(picture.convert("RGB").convert("L"))
    if "A" in picture.getbands() and grey.min() == grey.max():
        return np.asarray(picture.getchannel("A"))
    return grey


def _open(file: Path) -> Image.Image:
    try:
        with Image.open(file) as picture:
            return ImageOps.exif_transpose(picture)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{file} cannot be read as an image ({error}); replace or remove it.") from error


def _pairs(images: Path, masks: Path) -> dict[str, tuple[Path, Path]]:
    found = {folder: _by_stem(folder) for folder in (images, masks)}
    missing = sorted(found[images].keys() - found[masks].keys())
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(
            f"The image {found[images][missing[0]]} has no mask {masks / missing[0]}.(png|jpg|jpeg|bmp){more}; "
            "give every image a mask of the same name, or move it away."
        )
    return {stem: (file, found[masks][stem]) for stem, file in found[images].items()}


def _by_stem(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}; images= and masks= name the two folders below root.")
    files: dict[str, Path] = {}
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() in SUFFIXES:
            stem = file.relative_to(folder).with_suffix("").as_posix()
            if stem in files:
                raise DataError(f"{files[stem]} and {file} have one name; keep one of them.")
            files[stem] = file
    if not files:
        raise DataError(f"{folder} holds no PNG, JPEG or BMP file.")
    return files


def _held_out(stems: list[str], test: float | Sequence[str], seed: int) -> set[str]:
    if isinstance(test, str):
        test = [test]
    if not isinstance(test, (int, float)):
        return {stem for stem in stems if any(fnmatch.fnmatch(stem, pattern) for pattern in test)}
    if not 0 < test < 1:
        raise OptionError(f"test={test} is not a share between 0 and 1.")
    group = dict(zip(stems, groups_of(stems), strict=True))
    groups = sorted(set(group.values()))
    count = max(1, round(test * len(groups)))
    chosen = set(np.random.default_rng(seed).permutation(groups)[:count].tolist())
    return {stem for stem in stems if group[stem] in chosen}


def _check_sizes(image_file: Path, mask_file: Path) -> None:
    """Compare the sizes that the two headers state, without decoding the pixels."""
    sizes = []
    for file in (image_file, mask_file):
        try:
            with Image.open(file) as picture:
                turned = Image.Image.getexif(picture).get(_EXIF_ORIENTATION) in _QUARTER_TURNS
                sizes.append(picture.size[::-1] if turned else picture.size)
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
            raise DataError(f"{file} cannot be read as an image ({error}); replace or remove it.") from error
    if sizes[0] != sizes[1]:
        (w, h), (mask_w, mask_h) = sizes
        raise DataError(f"{image_file} is {w}×{h} but its mask {mask_file} is {mask_w}×{mask_h}; they must agree.")
