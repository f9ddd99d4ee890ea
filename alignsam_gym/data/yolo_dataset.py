"""YOLO's segmentation labels: a text file of polygons for each image."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True)
class YoloOptions(AnnotationOptions):
    """Options of `YoloDataset`.

    Raises:
        OptionError: A value makes no sense.
    """

    title: ClassVar[str] = "dataset='yolo'"
    names: str | None = option(
        "The file below `root` whose `names` lists the categories. None takes `data.yaml`, if it is there. Without "
        "one, categories have numbers alone.",
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
        names = _read_names(options.locate(), options.names)
        super().__init__("yolo", options, partial(_read, names=names))


def _read_names(root: Path, name: str | None) -> dict[str, str]:
    """Return the name of each category's number."""
    file = root / (name or "data.yaml")
    if name is None and not file.is_file():
        return {}
    with format_errors(file, "a file of YOLO's categories"):
        try:
            names = yaml.safe_load(file.read_text(encoding="utf-8-sig"))["names"]
        except yaml.YAMLError as error:
            raise ValueError(error) from error
        numbered = names if isinstance(names, dict) else dict(enumerate(names))
        return {str(number): str(label) for number, label in numbered.items()}


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
    if "images" not in parts:
        raise DataError(
            f"{images} is in no folder called images, by which YOLO's labels are found: labels/a.txt for images/a.jpg."
        )
    parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    return Path(*parts)


def _regions(file: Path, names: dict[str, str]) -> list[Region]:
    regions = []
    with format_errors(file, "a file of YOLO's labels"):
        for number, line in enumerate(file.read_text(encoding="utf-8-sig").splitlines(), start=1):
            if words := line.split():
                category = str(int(words[0]))
                if names and category not in names:
                    raise DataError(f"{file}: line {number} has category {category}; there is {', '.join(names)}.")
                label = names.get(category, category)
                regions.append(Region(label, f"line {number}", partial(_draw, [float(word) for word in words[1:]])))
    return regions


def _draw(numbers: list[float], size: Size) -> np.ndarray:
    if len(numbers) in (4, 5):
        raise DataError("it is a box, which is no mask: dataset=yolo reads labels for segmentation")
    if len(numbers) % 2:
        raise DataError("it has an odd number of coordinates; a score at its end must be taken off")
    return draw_polygons([np.reshape(numbers, (-1, 2)) * size], size)
