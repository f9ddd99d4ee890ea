"""Images and masks in files that are matched by their names."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from alignsam_gym.data.file_problems import FileProblems
from alignsam_gym.data.image_files import KINDS, SUFFIXES, IntensityRange, read_header, read_image, turned_size
from alignsam_gym.data.image_listing import list_images
from alignsam_gym.data.mask_rule import MaskRule
from alignsam_gym.data.samples import Sample
from alignsam_gym.data.user_files import about_splits
from alignsam_gym.errors import DataError, OptionError

log = logging.getLogger(__name__)

Pair = tuple[Path, Path]
"""An image file and its mask file."""

_NAMED = 20  # images without a mask, in a message


class PairedDataset:
    """Samples whose image and mask are two files. A mask that is all foreground is warned about, and works.

    Args:
        name: The data set's name.
        pairs: The image file and the mask file of each id.
        rule: Which pixels of a mask file are foreground.
        text: What the masks show. None if it has no name.
        intensity_range: What to make of images with more than 8 bits.
        empty: Whether a mask may have no foreground. None if it may not, and the user has no option to allow it.

    Raises:
        DataError: When a sample is loaded, if a file cannot be read, the sizes differ, the mask's colours can be meant
            in several ways, or it has no foreground, unless `empty`.
    """

    def __init__(
        self,
        name: str,
        pairs: Mapping[str, Pair],
        rule: MaskRule,
        text: str | None,
        intensity_range: IntensityRange = "auto",
        empty: bool | None = None,
    ) -> None:
        self.name, self.pairs = name, pairs
        self.ids: Sequence[str] = list(pairs)
        self.rule, self.text, self.intensity_range, self.empty = rule, text, intensity_range, empty

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        image_file, mask_file = self.pairs[self.ids[index]]
        orientation = mask_orientation(image_file, mask_file)
        image = read_image(image_file, self.intensity_range)
        mask, void = self.rule.read_with_void(mask_file, orientation)
        if not mask.any() and not self.empty:
            taken = "" if self.empty is None else ", or take it as it is: dataset.empty=true"
            raise DataError(
                f"The mask {mask_file} has no foreground with {self.rule}. Set these to suit it, leave it out: "
                f"env.on_error=skip{taken}."
            )
        warn_of_full_mask(mask, mask_file)
        return Sample(self.ids[index], image, mask, void, self.text)


def warn_of_full_mask(mask: np.ndarray, file: Path) -> None:
    """Warn of a mask that is all foreground."""
    if mask.all():
        log.warning("The mask %s is foreground everywhere; its image can teach no background.", file)


def mask_orientation(image: Path, mask: Path) -> int | None:
    """Decide how a mask is turned that has no EXIF orientation: as its image is, if both are stored in one size. [ours]

    Returns:
        The image's EXIF orientation, or None if the mask is to be read as it says itself.

    Raises:
        DataError: If the two files have different sizes after all turns, or a header cannot be read.
    """
    image_header, mask_header = read_header(image), read_header(mask)
    follows = mask_header.orientation is None and mask_header.stored_size == image_header.stored_size
    orientation = image_header.orientation if follows else None
    check_sizes(image, mask, image_header.size, turned_size(mask_header.size, orientation))
    return orientation


def check_sizes(image: Path, mask: Path, image_size: tuple[int, int], mask_size: tuple[int, int]) -> None:
    """Raise `DataError`, which names both files, unless their sizes (width, height) are equal."""
    if image_size != mask_size:
        (w, h), (mask_w, mask_h) = image_size, mask_size
        turns = [f"{file.name} is turned by EXIF orientation {read_header(file).orientation}" for file in (image, mask)]
        exif = "; ".join(turn for turn in turns if not turn.endswith(("None", " 1")))
        raise DataError(
            f"{image} is {w}×{h} but its mask {mask} is {mask_w}×{mask_h}; they must agree"
            f"{f' ({exif})' if exif else ''}."
        )


def with_agreeing_sizes(pairs: Mapping[str, Pair], problems: FileProblems) -> dict[str, Pair]:
    """Return the pairs whose two files state the same size. No pixel is decoded.

    It is told how many masks are turned as their images' EXIF orientation says.

    Args:
        pairs: Image files and mask files.
        problems: Takes the pairs whose sizes differ or cannot be read.

    Returns:
        The other pairs, in the same order.
    """
    kept, turned_masks = {}, []
    for stem, (image, mask) in pairs.items():
        try:
            orientation = mask_orientation(image, mask)
        except DataError as error:
            problems.add(str(error))
            continue
        kept[stem] = (image, mask)
        if orientation not in (None, 1):
            turned_masks.append(mask)
    if turned_masks:
        log.warning(
            "%d masks, such as %s, say nothing of their orientation and are turned as their images' EXIF orientation "
            "says; save the images upright if their masks are upright already",
            len(turned_masks),
            turned_masks[0],
        )
    return kept


def match_files(
    images: Path,
    masks: Path,
    problems: FileProblems,
    pattern: str = "*",
    part: slice = slice(None),
    mask_name: str = "{stem}",
) -> dict[str, Pair]:
    """Match images with masks that have the same path below their folder, but for the suffix.

    Args:
        images: The folder of images, searched recursively.
        masks: The folder of masks, searched recursively.
        problems: Takes the images without a mask, and the second of two files with the same path.
        pattern: Pattern (`fnmatch`) of the images' names.
        part: Which of these images to take, in the order of their paths, whether they have masks or not.
        mask_name: How a mask is called without its suffix, where ``{stem}`` is the image's name without suffix and
            ``{name}`` the name with it. ``{stem}/label`` is in a folder of the image's own.

    Returns:
        The image file and the mask file for each path without suffix, in the order of the paths.

    Raises:
        OptionError: If `mask_name` names neither.
        DataError: If a folder is missing or holds no image, or every image would be its own mask.
    """
    image_files = files_by_stem(images, problems, pattern)
    mask_files = files_by_stem(masks, problems)
    name_of = {stem: _mask_path(mask_name, stem, file) for stem, file in image_files.items()}
    if images.samefile(masks):
        mask_stems = set(name_of.values())
        image_files = {stem: file for stem, file in image_files.items() if stem not in mask_stems}
        if not image_files:
            raise DataError(
                f"{images} is the folder of images and of masks, and with dataset.mask_name={mask_name!r} every image "
                "would be its own mask; set dataset.mask_name to how masks are called, such as '{stem}_mask'."
            )
    chosen = list(image_files.items())[part]
    unmatched = [(stem, file) for stem, file in chosen if name_of[stem] not in mask_files]
    if unmatched:
        stem, file = unmatched[0]
        suffixes = "|".join(suffix[1:] for suffix in SUFFIXES)
        problems.add(
            f"The image {file} has no mask {masks / name_of[stem]}.({suffixes}){_further(unmatched)}; give every image "
            "a mask of the same name, move it away, or leave it out: env.on_error=skip."
            f"{_proposal(unmatched, list(mask_files))}"
        )
    return {stem: (file, mask_files[name_of[stem]]) for stem, file in chosen if name_of[stem] in mask_files}


def _further(unmatched: Sequence[tuple[str, Path]]) -> str:
    """Say how many images beside the first have no mask, and name them."""
    others = [stem for stem, _ in unmatched[1:]]
    if not others:
        return ""
    return f" and {len(others)} more ({', '.join(others[:_NAMED])}{', …' if len(others) > _NAMED else ''})"


def _mask_path(mask_name: str, stem: str, image: Path) -> str:
    """Return the path of an image's mask below the folder of masks, without suffix."""
    path = PurePosixPath(stem)
    try:
        name = mask_name.format(stem=path.name, name=path.name + image.suffix)
    except (AttributeError, IndexError, KeyError, ValueError):
        name = ""
    if not name or not any(field in mask_name for field in ("{stem}", "{name}")):
        raise OptionError(f"mask_name={mask_name!r}: it must hold {{stem}} or {{name}}, as in '{{stem}}_mask'.")
    return (path.parent / name).as_posix()


def _proposal(unmatched: Sequence[tuple[str, Path]], masks: Sequence[str]) -> str:
    """Propose the `mask_name` by which the most of these images have masks, if there is one."""
    stem, file = unmatched[0]
    name = PurePosixPath(stem).name
    near = [PurePosixPath(mask).name for mask in masks if name in PurePosixPath(mask).name]
    candidates = {mask.replace(name + file.suffix, "{name}", 1).replace(name, "{stem}", 1) for mask in near} - {
        "{stem}"
    }
    known = set(masks)
    fits = {
        candidate: sum(_mask_path(candidate, stem, file) in known for stem, file in unmatched)
        for candidate in candidates
    }
    best = max(sorted(fits), key=lambda candidate: fits[candidate], default=None)
    if best is None or not fits[best]:
        return ""
    return f" With dataset.mask_name='{best}', {fits[best]} of them have one."


def files_by_stem(folder: Path, problems: FileProblems, pattern: str = "*") -> dict[str, Path]:
    """Return the image files below a folder by their paths without suffix, in the order of the paths.

    Args:
        folder: Searched recursively.
        problems: Takes the second of two files with the same path.
        pattern: Pattern (`fnmatch`) of the files' names.

    Raises:
        DataError: The folder is missing or holds no image.
    """
    if not folder.is_dir():
        raise DataError(
            f"There is no folder {folder}; images= and masks= name the two folders below root."
            f"{about_splits(folder.parent)}{_about_annotations(folder.parent)}"
        )
    files: dict[str, Path] = {}
    for path, file in list_images(folder, pattern).items():
        stem = PurePosixPath(path).with_suffix("").as_posix()
        if stem in files:
            problems.add(f"{files[stem]} and {file} have one name; keep one of them.")
        else:
            files[stem] = file
    if not files:
        raise DataError(f"{folder} holds no {KINDS} file.")
    return files


def _about_annotations(root: Path) -> str:
    """Say what to do with the annotations of another tool, if there are some in a folder or one below it."""
    found = next((file for pattern in ("*.json", "*/*.json", "*.xml") for file in sorted(root.glob(pattern))), None)
    if found is None:
        return ""
    return f" {found} may hold polygons: dataset=coco, dataset=labelme or dataset=cvat reads them."
