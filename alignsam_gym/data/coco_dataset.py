"""COCO: one JSON file of polygons and run lengths for many images."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np

from alignsam_gym.data.annotated_dataset import (
    AnnotatedDataset,
    AnnotatedImage,
    Annotations,
    FileOptions,
    Place,
    Region,
    format_errors,
    read_json,
)
from alignsam_gym.data.region_drawing import Size, draw_polygons, draw_runs, unpack_runs
from alignsam_gym.errors import DataError
from alignsam_gym.options import documented_by, takes_options_of

_KIND = "a COCO annotation file"


@dataclass(frozen=True)
class CocoOptions(FileOptions):
    """Options of `CocoDataset`.

    Raises:
        OptionError: A value makes no sense.
    """

    title: ClassVar[str] = "dataset='coco'"


@documented_by(CocoOptions)
class CocoDataset(AnnotatedDataset):
    """Images with COCO's annotations: polygons and run lengths, compressed or not. Crowds are void.

    The keywords are the fields of `CocoOptions`. A category may also be given by its id.

    Raises:
        OptionError: As `AnnotatedDataset` does.
        DataError: As `AnnotatedDataset` does.
    """

    @takes_options_of(CocoOptions)
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("coco", CocoOptions(*args, **kwargs), _read)


def _read(place: Place) -> Annotations:
    content = read_json(place.annotations, _KIND)
    with format_errors(place.annotations, _KIND):
        names = {category["id"]: str(category["name"]) for category in content["categories"]}
        regions = defaultdict(list)
        for annotation in content["annotations"]:
            label, is_void = names[annotation["category_id"]], bool(annotation.get("iscrowd"))
            draw = partial(_draw, annotation.get("segmentation"))
            regions[annotation["image_id"]].append(Region(label, f"annotation {annotation['id']}", draw, is_void))
        images = [
            AnnotatedImage(
                image["file_name"], place.annotations, (image["width"], image["height"]), regions.pop(image["id"], [])
            )
            for image in content["images"]
        ]
    if regions:
        raise DataError(f"{place.annotations} annotates an image with the id {next(iter(regions))}, but lists none.")
    return Annotations(images, list(names.values()), {str(number): name for number, name in names.items()})


def _draw(segmentation: Any, size: Size) -> np.ndarray:
    match segmentation:
        case {"counts": counts, "size": [height, width]}:
            if (width, height) != size:
                raise DataError(f"its run lengths are for {width}×{height}, the image is {size[0]}×{size[1]}")
            return draw_runs(unpack_runs(counts) if isinstance(counts, str) else counts, size, order="F")
        case [[*_], *_]:
            return draw_polygons(segmentation, size)
    raise DataError("it has no segmentation, perhaps a box alone, which is no mask")
