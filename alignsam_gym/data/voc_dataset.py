"""Pascal VOC 2012, semantic segmentation: one sample for each category in each image."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from alignsam_gym.data.annotated_dataset import chosen_categories
from alignsam_gym.data.file_problems import FileProblems
from alignsam_gym.data.image_files import read_image, read_indices
from alignsam_gym.data.paired_files import check_sizes
from alignsam_gym.data.published_datasets import FolderTree
from alignsam_gym.data.samples import Sample
from alignsam_gym.errors import DataError, check_choice

CATEGORIES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle",
    "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person",
    "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""In the order of their class indices, 1 to 20."""

TWO_WORDS = {"diningtable": "dining table", "pottedplant": "potted plant", "tvmonitor": "tv monitor"}
"""Names of categories that are two words, as a text has them. [ours]"""

VOID = 255
_LISTS = {"train": "train", "test": "val"}  # the masks of VOC's own test split are not public [ours]
_TREE = FolderTree(
    "VOC2012",
    "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
    "VOCdevkit/VOC2012",
    ("JPEGImages", "SegmentationClass", *(f"ImageSets/Segmentation/{name}.txt" for name in _LISTS.values())),
)


class VOCDataset:
    """VOC 2012's segmentation: one sample for each category in each image, whose text is the category's name.

    The paper does not say what a sample of VOC is. [ours] The other categories of the image are background. Boundaries
    and difficult objects, index 255, are void. The id of a sample is ``<image>_<category>``.

    Args:
        split: ``train``, the published list ``train``; or ``test``, the published list ``val``.
        root: The data set's folder, or one above it. None looks in the folder that the environment variable
            ``ALIGNSAM_DATA`` names; see `FolderTree.locate`.
        categories: The only categories to segment: one of `CATEGORIES`, or several in a list. None takes all.
        on_error: ``raise``, or ``skip`` to leave out, with a warning, images whose masks cannot be read.

    Raises:
        OptionError: If the split or a category is unknown.
        DataError: If the tree is not whole, a mask cannot be read, or no image shows the categories; and when a sample
            is loaded, if its image cannot be read or has another size than the mask.
    """

    name = _TREE.name
    branch = "explicit"

    def __init__(
        self,
        split: str,
        root: str | Path | None = None,
        categories: str | Sequence[str] | None = None,
        on_error: str = "raise",
    ) -> None:
        check_choice("split", split, tuple(_LISTS))
        wanted = set(chosen_categories("all" if categories is None else categories, CATEGORIES, numbers={}))
        self.root = _TREE.locate(root)
        listed = (self.root / "ImageSets" / "Segmentation" / f"{_LISTS[split]}.txt").read_text().split()
        with ThreadPoolExecutor() as pool:  # every mask is opened, to know what is in it
            present = list(pool.map(self._present, listed))
        self.targets: list[tuple[str, str]] = []
        problems = FileProblems(on_error == "skip")
        for image, found in zip(listed, present, strict=True):
            if isinstance(found, DataError):
                problems.add(str(found))
            else:
                self.targets += [(image, category) for category in found if category in wanted]
        problems.check()
        if not self.targets:
            raise DataError(f"No image of VOC2012's {split} split below {self.root} shows {', '.join(sorted(wanted))}.")
        self.ids: Sequence[str] = [f"{image}_{category}" for image, category in self.targets]
        self.groups: Sequence[str] = [image for image, _ in self.targets]
        self.categories: Sequence[str] = [category for _, category in self.targets]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> Sample:
        name, category = self.targets[index]
        image_file, mask_file = self._files(name)
        image, classes = read_image(image_file), read_indices(mask_file)
        check_sizes(image_file, mask_file, image.shape[1::-1], classes.shape[::-1])
        mask, void = classes == CATEGORIES.index(category) + 1, classes == VOID
        return Sample(self.ids[index], image, mask, void, TWO_WORDS.get(category, category))

    def _files(self, name: str) -> tuple[Path, Path]:
        return self.root / "JPEGImages" / f"{name}.jpg", self.root / "SegmentationClass" / f"{name}.png"

    def _present(self, name: str) -> list[str] | DataError:
        """Return the categories in an image's mask, or the error if it is broken."""
        try:
            counts = np.bincount(read_indices(self._files(name)[1]).ravel(), minlength=256)
        except DataError as error:
            return error
        if odd := [index for index in np.flatnonzero(counts) if len(CATEGORIES) < index < VOID]:
            return DataError(f"{self._files(name)[1]} holds class {odd[0]}; VOC has 0 to 20, and 255 for void.")
        return [category for index, category in enumerate(CATEGORIES, start=1) if counts[index]]
