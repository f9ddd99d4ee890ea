"""labelme: a JSON file of shapes beside each image."""

from __future__ import annotations

import base64
import io
import posixpath
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from alignsam_gym.data.annotated_dataset import (
    AnnotatedDataset,
    AnnotatedImage,
    AnnotationOptions,
    Annotations,
    Place,
    Region,
    format_errors,
    read_json,
)
from alignsam_gym.data.image_listing import list_files, list_images
from alignsam_gym.data.region_drawing import Size, box_outline, draw_polygons, ellipse_outline, paste
from alignsam_gym.errors import DataError
from alignsam_gym.options import documented_by, option, takes_options_of

_KIND = "a labelme file"
_MISSING = "let images= be the folder that holds the images and the JSON files, or put the image there"
_IN_THE_FILE = "the image lies in the JSON file itself, as imageData: decode it from Base64 and save it under that name"


@dataclass(frozen=True)
class LabelmeOptions(AnnotationOptions):
    """Options of `LabelmeDataset`.

    Raises:
        OptionError: A value makes no sense.
    """

    title: ClassVar[str] = "dataset='labelme'"
    images: str = option(
        "Name of the folder of images and JSON files below `root`, or below each split's folder. It is searched with "
        "its subfolders.",
        ".",
    )

    @property
    def content(self) -> str:
        """What `root` holds, for messages."""
        return "the images and their JSON files"


@documented_by(LabelmeOptions)
class LabelmeDataset(AnnotatedDataset):
    """Images with labelme's files, ``a.json`` for ``a.jpg``: polygons, rectangles, circles and masks.

    A file is beside its image, or its ``imagePath`` leads there.

    An image without a file has not been labelled and is left out. The keywords are the fields of `LabelmeOptions`.

    Raises:
        OptionError: As `AnnotatedDataset` does.
        DataError: As `AnnotatedDataset` does.
    """

    @takes_options_of(LabelmeOptions)
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("labelme", LabelmeOptions(*args, **kwargs), _read)


def _read(place: Place) -> Annotations:
    listed = list_images(place.images, without=place.without)
    by_stem = {PurePosixPath(name).with_suffix(""): name for name in listed}
    images = []
    for path, file in list_files(place.images, ".json", place.without).items():
        content = read_json(file, _KIND)
        with format_errors(file, _KIND):
            stem = PurePosixPath(path).with_suffix("")
            stated, beside = _stated_paths(stem.parent, content["imagePath"])
            name = next((each for each in (stated, beside) if each in listed), by_stem.get(stem, beside))
            regions = [
                Region(str(shape["label"]), f"shape {number}", partial(_draw, shape))
                for number, shape in enumerate(content["shapes"], start=1)
            ]
            size = content["imageWidth"], content["imageHeight"]  # null, where a program wrote the file
            advice = _IN_THE_FILE if content.get("imageData") else _MISSING
            images.append(AnnotatedImage(name, file, None if None in size else size, regions, advice))
    if not images:
        raise DataError(f"{place.images} holds no JSON file of labelme.")
    return Annotations(images, sorted({region.label for image in images for region in image.regions}))


def _stated_paths(folder: PurePosixPath, stated: str) -> tuple[str, str]:
    """Return an image's path as a file in a folder states it, with slashes of any kind, and its path in that folder."""
    stated = unicodedata.normalize("NFC", stated)
    as_stated = posixpath.normpath(folder / PureWindowsPath(stated).as_posix())
    return as_stated, (folder / PureWindowsPath(stated).name).as_posix()


def _draw(shape: Mapping[str, Any], size: Size) -> np.ndarray:
    kind, points = shape.get("shape_type") or "polygon", np.array(shape["points"], float)
    if kind == "mask":
        left, top = points.min(0).astype(int)
        return paste(_decoded(shape["mask"]), left, top, size)
    if kind == "circle":
        (x, y), edge = points
        radius = float(np.hypot(*(edge - (x, y))))
        return draw_polygons([ellipse_outline(x, y, radius, radius)], size)
    if kind == "rectangle" and len(points) == 2:
        return draw_polygons([box_outline(*points[0], *points[1])], size)
    if kind in ("polygon", "rectangle", "oriented_rectangle"):
        return draw_polygons([points], size)
    raise DataError(f"a {kind} has no area")


def _decoded(text: str) -> np.ndarray:
    """Decode a small mask: a PNG in Base64."""
    with Image.open(io.BytesIO(base64.b64decode(text)), formats=["PNG"]) as picture:
        return np.asarray(picture.convert("L")) > 0
