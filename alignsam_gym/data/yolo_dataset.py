"""YOLO's segmentation labels: a text file of polygons for each image."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import yaml

from alignsam_gym.data.annotated_dataset import (
    AnnotatedDataset,
    AnnotatedImage,
    AnnotationOptions,
    Annotations,
    Place,
    Region,
    format_errors,
)
from alignsam_gym.data.image_listing import list_images
from alignsam_gym.data.region_drawing import Size, draw_polygons
from alignsam_gym.errors import DataError
from alignsam_gym.options import documented_by, option, takes_options_of

log = logging.getLogger(__name__)

_IMAGES = "images"
_FAR = 2.0  # a fraction above this, which `draw_polygons` would refuse in any case, is a pixel's coordinate


@dataclass(frozen=True)
class YoloOptions(AnnotationOptions):
    """Options of `YoloDataset`.

    Raises:
        OptionError: A value makes no sense.
    """

    title: ClassVar[str] = "dataset='yolo'"
    names: str | None = option(
        "The file below `root` whose `names` lists the categories, and whose `train` and `test`, or else `val`, are "
        "the splits if they are folders below `root`. None takes `data.yaml`, if it is there. Without one, categories "
        "have numbers alone.",
        None,
    )

    @property
    def content(self) -> str:
        """What `root` holds, for messages."""
        return "images/ and labels/"


@documented_by(YoloOptions)
class YoloDataset(AnnotatedDataset):
    """Images with YOLO's segmentation labels, ``labels/a.txt`` for ``images/a.jpg``.

    Each line is a polygon: the number of its category, then x and y in turn as fractions of the image's width and
    height. An image without a file shows nothing. The keywords are the fields of `YoloOptions`.

    Raises:
        OptionError: As `AnnotatedDataset` does.
        DataError: As `AnnotatedDataset` does.
    """

    @takes_options_of(YoloOptions)
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        options = YoloOptions(*args, **kwargs)
        description, names = _read_description(options.locate(), options.names)
        super().__init__("yolo", _with_splits(options, description), partial(_read, names=names))


def _read_description(root: Path, name: str | None) -> tuple[Mapping[str, Any], dict[str, str]]:
    """Return what the file of categories holds, and the name of each category's number."""
    file = root / (name or "data.yaml")
    if name is None and not file.is_file():
        return {}, {}
    with format_errors(file, "a file of YOLO's categories"):
        try:
            description = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
            names = description["names"]
        except yaml.YAMLError as error:
            raise ValueError(error) from error
        numbered = names if isinstance(names, dict) else dict(enumerate(names))
        return description, {str(number): str(label) for number, label in numbered.items()}


def _with_splits(options: YoloOptions, description: Mapping[str, Any]) -> YoloOptions:
    """Return the options with the folders of images that a description names, unless the user names some."""
    if options.draws or options.images != _IMAGES or options.test_images is not None:
        return options
    root = options.locate().resolve()
    named = {key: value for key in ("train", "test", "val") if isinstance(value := description.get(key), str)}
    folders = {key: (root / value).resolve() for key, value in named.items()}
    usable = [key for key, folder in folders.items() if root in folder.parents and _has_labels(folder)]
    if len(usable) < 2 or usable[0] != "train" or folders["train"] == folders[usable[1]]:
        return options  # folders' names may tell the splits
    train, test, *unused = (folders[key].relative_to(root).as_posix() for key in usable)
    log.info("%s: the %s split is %s", options.root, options.split, test if options.split == "test" else train)
    if unused and options.split == "train":
        log.info("%s: %s is neither trained on nor tested on, as there is %s", options.root, unused[0], test)
    return replace(options, images=train, test_images=test)


def _has_labels(images: Path) -> bool:
    """Return whether a folder of images is there, and that of their labels."""
    return images.is_dir() and _IMAGES in images.parts and _labels_of(images).is_dir()


def _read(place: Place, names: dict[str, str]) -> Annotations:
    labels_folder = _labels_of(place.images)
    images = []
    for name in list_images(place.images, without=place.without):
        file = (labels_folder / name).with_suffix(".txt")
        images.append(AnnotatedImage(name, file, None, _regions(file, names) if file.is_file() else []))
    found = {region.label for annotated in images for region in annotated.regions}
    if not found:
        raise DataError(f"{labels_folder} holds no label for an image of {place.images}.")
    return Annotations(images, list(names.values()) or sorted(found, key=int), names)


def _labels_of(images: Path) -> Path:
    """Return the folder of labels: the path of that of images, with the last ``images`` in it replaced."""
    parts = list(images.parts)
    if _IMAGES not in parts:
        raise DataError(
            f"{images} is in no folder called images, by which YOLO's labels are found: labels/a.txt for images/a.jpg."
        )
    parts[len(parts) - 1 - parts[::-1].index(_IMAGES)] = "labels"
    return Path(*parts)


def _regions(file: Path, names: dict[str, str]) -> list[Region]:
    regions = []
    with format_errors(file, "a file of YOLO's labels"):
        for number, line in enumerate(file.read_text(encoding="utf-8-sig").splitlines(), start=1):
            if words := line.split():
                category, coordinates = _numbers(words, f"line {number}")
                if names and category not in names:
                    raise DataError(f"{file}: line {number} has category {category}; there is {', '.join(names)}.")
                regions.append(Region(names.get(category, category), f"line {number}", partial(_draw, coordinates)))
    return regions


def _numbers(words: Sequence[str], place: str) -> tuple[str, list[float]]:
    """Return a line's category, whose number some programs write as ``0.0``, and its coordinates."""
    try:
        category, *coordinates = (float(word) for word in words)
    except ValueError as error:
        raise ValueError(f"{place}: {error}; it must be a category's number and coordinates") from error
    if not category.is_integer():
        raise ValueError(f"{place}: a category is a whole number, not {words[0]}")
    return str(int(category)), coordinates


def _draw(numbers: list[float], size: Size) -> np.ndarray:
    if len(numbers) in (4, 5):
        raise DataError("it is a box, which is no mask: dataset=yolo reads labels for segmentation")
    if len(numbers) % 2:
        raise DataError("it has an odd number of coordinates; a score at its end must be taken off")
    if max(numbers, default=0) > _FAR:
        raise DataError(
            f"it lies outside the image, as its coordinates go up to {max(numbers):g}: they must be fractions of the "
            "image's width and height, from 0 to 1, not pixels"
        )
    return draw_polygons([np.reshape(numbers, (-1, 2)) * size], size)
