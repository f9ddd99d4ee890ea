"""CVAT for images 1.1: one XML file of shapes for many images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar
from xml.etree import ElementTree

import numpy as np

from alignsam_gym.data.annotated_dataset import (
    AnnotatedDataset,
    AnnotatedImage,
    Annotations,
    FileOptions,
    Place,
    Region,
    format_errors,
)
from alignsam_gym.data.region_drawing import Size, box_outline, draw_polygons, draw_runs, ellipse_outline, paste
from alignsam_gym.errors import DataError
from alignsam_gym.options import documented_by, option, takes_options_of

_KIND = "an XML file of CVAT for images 1.1"


@dataclass(frozen=True)
class CvatOptions(FileOptions):
    """Options of `CvatDataset`.

    Raises:
        OptionError: A value makes no sense.
    """

    title: ClassVar[str] = "dataset='cvat'"
    annotations: str | None = option(
        "The annotation file, below `root`, below each split's folder, or where it says itself.", "annotations.xml"
    )


@documented_by(CvatOptions)
class CvatDataset(AnnotatedDataset):
    """Images with annotations that CVAT exports as "CVAT for images 1.1": polygons, boxes, ellipses and masks.

    The keywords are the fields of `CvatOptions`.

    Raises:
        OptionError: As `AnnotatedDataset` does.
        DataError: As `AnnotatedDataset` does.
    """

    @takes_options_of(CvatOptions)
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("cvat", CvatOptions(*args, **kwargs), _read)


def _read(place: Place) -> Annotations:
    file = place.annotations
    with format_errors(file, _KIND):
        try:
            root = ElementTree.parse(file).getroot()
        except ElementTree.ParseError as error:
            raise ValueError(error) from error
        if root.find("track") is not None:
            raise DataError(f"{file} holds tracks of a video; export it as CVAT for images 1.1.")
        images = [
            AnnotatedImage(
                image.attrib["name"],
                file,
                (int(image.attrib["width"]), int(image.attrib["height"])),
                _regions(image),
            )
            for image in root.iter("image")
        ]
        known = [str(name.text) for name in root.iterfind("meta//labels/label/name")]
    if not images:
        raise DataError(f"{file} is not {_KIND}: it lists no image.")
    return Annotations(images, known + [region.label for image in images for region in image.regions])


def _regions(image: ElementTree.Element) -> list[Region]:
    return [
        Region(shape.attrib["label"], f"{shape.tag} {number}", partial(_draw, shape.tag, shape.attrib))
        for number, shape in enumerate(image, start=1)
        if shape.tag != "tag"  # which is of the image as a whole
    ]


def _draw(kind: str, values: Mapping[str, str], size: Size) -> np.ndarray:
    def numbers(*names: str) -> list[float]:
        turned = {"rotation": "0", **values}
        return [float(turned[name]) for name in names]

    match kind:
        case "polygon":
            return draw_polygons([[point.split(",") for point in values["points"].split(";")]], size)
        case "box":
            return draw_polygons([box_outline(*numbers("xtl", "ytl", "xbr", "ybr", "rotation"))], size)
        case "ellipse":
            return draw_polygons([ellipse_outline(*numbers("cx", "cy", "rx", "ry", "rotation"))], size)
        case "mask":
            left, top, width, height = (int(values[name]) for name in ("left", "top", "width", "height"))
            runs = [int(run) for run in values["rle"].split(",")]
            return paste(draw_runs(runs, (width, height), order="C"), left, top, size)
    raise DataError(f"a {kind} has no area")
