"""Images whose masks are drawn from what an annotation tool wrote. Each format has a reader in a module of its own."""

from __future__ import annotations

import json
import logging
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from alignsam_gym.data.file_problems import FileProblems
from alignsam_gym.data.image_files import read_header, read_image, turned
from alignsam_gym.data.paired_files import warn_of_full_mask
from alignsam_gym.data.region_drawing import Size
from alignsam_gym.data.samples import Sample
from alignsam_gym.data.stored_mask import thinned
from alignsam_gym.data.user_files import UserFilesOptions, about_splits, choose_split
from alignsam_gym.errors import AlignSAMError, DataError, OptionError, check_choice, first_line
from alignsam_gym.options import option

log = logging.getLogger(__name__)

_MALFORMED = (AttributeError, IndexError, KeyError, OSError, RecursionError, TypeError, ValueError)


@dataclass(frozen=True)
class AnnotationOptions(UserFilesOptions):
    """Options of every data set whose masks are drawn from annotations.

    Raises:
        OptionError: A value makes no sense.
    """

    categories: str | Sequence[str] | None = option(
        "What is to be segmented: the name or the number of a category, several in a list, which are one target "
        "together, or `all`. None takes the only one there is.",
        None,
    )
    empty: bool = option(
        "Whether images that show none of the categories are samples, too, with an empty mask. Otherwise they are left "
        "out, as is usual where one category of COCO is segmented.",
        False,
    )
    test_images: str | None = option("The folder of the test split's images, if it is another than `images`.", None)

    def locate_split(self) -> Place:
        """Return where the split's files are, of which no annotation file is one."""
        if self.test_images is not None:
            base = self.locate()
            train, test = base / self.images, base / self.test_images
            images, other = (test, train) if self.split == "test" else (train, test)
            return Place(base, images, images, is_split=True, without=(other,))
        base, is_split = self.locate_part(self.images)
        images = base / self.images
        if not images.is_dir():
            raise DataError(f"There is no folder {images}.{about_splits(base)}")
        return Place(base, images, images, is_split)


@dataclass(frozen=True)
class FileOptions(AnnotationOptions):
    """Options of the formats that have one annotation file for many images."""

    annotations: str | None = option(
        "The annotation file, below `root`, below each split's folder, or where it says itself.", None
    )
    test_annotations: str | None = option("The annotation file of the test split, if it has one of its own.", None)

    @property
    def content(self) -> str:
        """What `root` holds, for messages."""
        return f"{self.images}/ and the annotation file"

    def locate_split(self) -> Place:
        """Return where the split's files are.

        Raises:
            OptionError: No annotation file is named.
            DataError: It does not exist. The message names those that do.
        """
        base = self.locate()
        if self.test_images is not None and self.test_annotations is None:
            raise OptionError("test_images needs test_annotations, the annotation file that lists them.")
        is_test, has_own = self.split == "test", self.test_annotations is not None
        images = self.test_images if is_test and self.test_images is not None else self.images
        name = self.test_annotations if is_test and has_own else self.annotations
        if name is None:
            raise OptionError(f"{self.title} needs annotations=<file>.{_proposal(base)}")
        base, is_split = (base, False) if has_own else self.locate_part(name)
        file = next((file for file in (base / name, Path(name).expanduser()) if file.is_file()), None)
        if file is None:
            raise DataError(f"There is no annotation file {base / name}.{_proposal(base)}")
        return Place(base, base / images, file, is_split or has_own)


@dataclass(frozen=True)
class Place:
    """Where the files of a split are.

    Attributes:
        root: The folder that they are in.
        images: The folder of images.
        annotations: The annotation file, or the folder of those that there are for each image.
        is_split: Whether they are those of the split alone.
        without: Folders of the other split, which may lie below `images`.
    """

    root: Path
    images: Path
    annotations: Path
    is_split: bool
    without: Sequence[Path] = ()


@dataclass(frozen=True)
class Region:
    """One object in an image.

    Attributes:
        label: Its category.
        name: What to call it in messages: ``annotation 17``.
        draw: Returns its mask, bool (H, W), for the image's width and height; raises `DataError`, without naming it.
        is_void: Whether it is no object but pixels that have no label.
    """

    label: str
    name: str
    draw: Callable[[Size], np.ndarray]
    is_void: bool = False


@dataclass(frozen=True)
class AnnotatedImage:
    """What an annotation file says of one image.

    Attributes:
        name: The image's path below the folder of images.
        source: The annotation file.
        size: Width and height as the file states them; None if it does not.
        regions: The objects in it.
        advice: What to do if there is no such image.
    """

    name: str
    source: Path
    size: Size | None
    regions: Sequence[Region]
    advice: str = "let images= be the folder below which the names stand, or remove it from the annotations"


@dataclass(frozen=True)
class Annotations:
    """What a reader has found.

    Attributes:
        images: In any order.
        labels: Names of all categories, whether an image shows them or not.
        numbers: The category of each number that may stand for one.
    """

    images: Sequence[AnnotatedImage]
    labels: Sequence[str]
    numbers: Mapping[str, str] = field(default_factory=dict)


class AnnotatedDataset:
    """Samples whose masks are drawn from annotations: all objects of the chosen categories are the target.

    An id is the path of an image below the folder of images, without suffix. Coordinates are those of the image as its
    EXIF orientation turns it, unless its stated size is that of the rows as they are stored only. [ours]

    Args:
        name: The data set's name.
        options: What the user chose.
        read: Reads the annotations of a split.

    Attributes:
        groups: The group of each sample, of which none is in both splits.
        text: What the masks show: the chosen text, or the only category if it has a name, not a number alone.

    Raises:
        OptionError: If an option has a value that makes no sense, or a category is unknown or has to be chosen.
        DataError: If files are missing or broken, an image has another size than its annotations, or none shows the
            categories; and when a sample is loaded, if its image or one of its regions is broken.
    """

    def __init__(self, name: str, options: AnnotationOptions, read: Callable[[Place], Annotations]) -> None:
        self.name, self.intensity_range, self._empty = name, options.intensity_range, options.empty
        place = options.locate_split()
        annotations = read(place)
        wanted = _chosen_labels(options.categories, annotations, place)
        self.text = options.text or (wanted[0] if len(wanted) == 1 and not wanted[0].isdecimal() else None)
        problems = FileProblems(options.skips)
        candidates = _by_id(_showing(annotations.images, wanted, options.empty), problems)
        if not candidates:
            raise DataError(f"No image in {place.annotations} shows {', '.join(wanted) or 'anything'}.")
        chosen, group_of = choose_split(candidates, options, place.is_split)
        self.images = _with_files(chosen, place, problems)
        if problems.found:  # all of them are told, those of the other split, too
            _with_files({key: candidates[key] for key in candidates.keys() - chosen.keys()}, place, problems)
            problems.check()
        if not self.images:
            raise DataError(f"No image of the {options.split} split of {place.root} is whole; the warnings say why.")
        self.ids: Sequence[str] = list(self.images)
        self.groups: Sequence[str] = [group_of[key] for key in self.ids]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        file, annotated = self.images[self.ids[index]]
        size, orientation = _frame(file, annotated)
        mask = turned(thinned(_union(annotated, False, size), size), orientation)
        crowds = turned(thinned(_union(annotated, True, size), size), orientation)
        if not mask.any() and not self._empty:
            raise DataError(f"{annotated.source}: no object in {annotated.name} covers a pixel; remove or enlarge it.")
        warn_of_full_mask(mask, file)
        void = crowds & ~mask if crowds.any() else None
        return Sample(self.ids[index], read_image(file, self.intensity_range), mask, void, self.text)


@contextmanager
def format_errors(file: Path, kind: str) -> Iterator[None]:
    """Turn what goes wrong when a file's content is not as it should be into a `DataError` that names the file.

    Args:
        file: The file.
        kind: What it should be, with its article.
    """
    try:
        yield
    except AlignSAMError:
        raise
    except _MALFORMED as error:
        raise DataError(f"{file} is not {kind} ({_reason(error)}); export it again.") from error


def read_json(file: Path, kind: str) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Args:
        file: The file.
        kind: What it should be, with its article, for the message.

    Raises:
        DataError: It cannot be read, or holds something else.
    """
    with format_errors(file, kind):
        content = json.loads(file.read_bytes())
        if not isinstance(content, dict):
            raise TypeError(f"it holds a {type(content).__name__}")
        return content


def chosen_categories(wanted: object, labels: Sequence[str], numbers: Mapping[str, str]) -> list[str]:
    """Return the names of the categories that a user chose.

    Args:
        wanted: A name or a number, several in a list, or ``all``.
        labels: Names of all categories.
        numbers: The category of each number that may stand for one.

    Raises:
        OptionError: A category is unknown, or the list is empty.
    """
    if wanted == "all":
        return list(labels)
    several = wanted if isinstance(wanted, Sequence) and not isinstance(wanted, str) else [wanted]
    if not several:
        raise OptionError("categories=[] leaves nothing to segment; name some, or take all.")
    names = [str(each) for each in several]
    names = [numbers.get(name, name) if name not in labels else name for name in names]
    return [check_choice("categories", name, labels) for name in dict.fromkeys(names)]


def _reason(error: BaseException) -> str:
    return f"it lacks {error}" if isinstance(error, KeyError) else first_line(error)


def _chosen_labels(wanted: object, annotations: Annotations, place: Place) -> list[str]:
    """Return the names of the categories to segment."""
    labels = list(dict.fromkeys(annotations.labels))
    if wanted is None:
        if len(labels) > 1:
            raise OptionError(
                f"{place.annotations} has several categories: {', '.join(labels)}. Choose with "
                f"dataset.categories='{labels[0]}', several as one target by a list, or dataset.categories=all."
            )
        return labels
    return chosen_categories(wanted, labels, annotations.numbers)


def _showing(images: Sequence[AnnotatedImage], labels: Sequence[str], empty: bool) -> list[AnnotatedImage]:
    """Return the images with objects of some categories, or all if `empty`, and with those regions alone."""
    chosen, wanted = [], set(labels)
    for annotated in images:
        regions = [region for region in annotated.regions if region.label in wanted]
        if empty or not all(region.is_void for region in regions):
            chosen.append(replace(annotated, regions=regions))
    if len(chosen) < len(images):
        log.info("%d of %d images show %s", len(chosen), len(images), ", ".join(labels))
    return chosen


def _by_id(images: Sequence[AnnotatedImage], problems: FileProblems) -> dict[str, AnnotatedImage]:
    """Return images by their ids, in the order in which `list_images` would list their files."""
    found: dict[str, AnnotatedImage] = {}
    for annotated in sorted(images, key=lambda each: PurePosixPath(each.name).parts):
        key = _below(annotated.name).with_suffix("").as_posix()
        if key in found:
            problems.add(
                f"{annotated.source} has {found[key].name} and {annotated.name} under one name; keep one of them."
            )
        else:
            found[key] = annotated
    return found


def _with_files(
    images: Mapping[str, AnnotatedImage], place: Place, problems: FileProblems
) -> dict[str, tuple[Path, AnnotatedImage]]:
    """Return images with their files, but for those whose file is missing, broken, or of another size."""
    found = {}
    for key, annotated in images.items():
        try:
            file = _find(annotated, place)
            _frame(file, annotated)
        except DataError as error:
            problems.add(str(error))
        else:
            found[key] = file, annotated
    return found


def _below(name: str) -> PurePosixPath:
    """Return an image's path as it can stand below a folder. A path on another computer is its last part."""
    path = PurePosixPath(unicodedata.normalize("NFC", name.replace("\\", "/")))
    elsewhere = path.is_absolute() or PureWindowsPath(name).drive or ".." in path.parts
    return PurePosixPath(path.name) if elsewhere else path


def _find(annotated: AnnotatedImage, place: Place) -> Path:
    """Find an image's file below the folder of images, or below the root, from where some tools name it."""
    path = _below(annotated.name).as_posix()
    for folder in (place.images, place.root):
        for form in ("NFC", "NFD"):
            file = folder / unicodedata.normalize(form, path)
            if file.is_file():
                return file
    raise DataError(
        f"{annotated.source} names the image {annotated.name}, but there is no {place.images / path}; "
        f"{annotated.advice}."
    )


def _frame(file: Path, annotated: AnnotatedImage) -> tuple[Size, int | None]:
    """Return the width and height that an image's coordinates belong to, and the EXIF orientation to turn masks by.

    Raises:
        DataError: The file's header cannot be read, or states another size than the annotations.
    """
    header = read_header(file)
    if annotated.size in (None, header.size):
        return header.size, None
    if annotated.size == header.stored_size:
        return header.stored_size, header.orientation
    (w, h), (stated_w, stated_h) = header.size, annotated.size or header.size
    raise DataError(
        f"{file} is {w}×{h}, but {annotated.source} was made for {stated_w}×{stated_h}; take the image as it was when "
        "it was labelled."
    )


def _union(annotated: AnnotatedImage, is_void: bool, size: Size) -> np.ndarray:
    """Draw the regions of an image that are void, or those that are not, together."""
    mask = np.zeros(size[::-1], bool)
    for region in annotated.regions:
        if region.is_void == is_void:
            try:
                mask |= region.draw(size)
            except OptionError:
                raise
            except _MALFORMED as error:
                raise DataError(
                    f"{annotated.source}: {region.name}, {region.label} in {annotated.name}, cannot be drawn: "
                    f"{_reason(error)}. Correct it there, or remove it."
                ) from error
    return mask


def _proposal(base: Path) -> str:
    """Name the files that may be meant."""
    found = [file for pattern in ("*.json", "*.xml", "annotations/*.json") for file in sorted(base.glob(pattern))]
    names = ", ".join(file.relative_to(base).as_posix() for file in found[:5])
    return f" There is {names}{', …' if len(found) > 5 else ''}." if found else ""
