"""Images with masks to learn from and to be measured on: the data sets, and how to find one by its name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from alignsam_gym.data.coco_dataset import CocoDataset
from alignsam_gym.data.cvat_dataset import CvatDataset
from alignsam_gym.data.drawn_scenes import TASKS
from alignsam_gym.data.folder_dataset import FolderDataset
from alignsam_gym.data.labelme_dataset import LabelmeDataset
from alignsam_gym.data.published_datasets import LAYOUTS, PublishedDataset
from alignsam_gym.data.samples import Dataset, Sample, Subset, all_but, draw_shots, preferred_branch, without_broken
from alignsam_gym.data.shapes_dataset import NamedShapesDataset, ShapesDataset
from alignsam_gym.data.voc_dataset import VOCDataset
from alignsam_gym.data.yolo_dataset import YoloDataset
from alignsam_gym.errors import check_choice, check_option_names

__all__ = [
    "DATASETS",
    "USER_DATASETS",
    "Dataset",
    "Sample",
    "Subset",
    "all_but",
    "dataset_parameters",
    "draw_shots",
    "load_dataset",
    "preferred_branch",
    "without_broken",
]

USER_DATASETS: dict[str, Callable[..., Dataset]] = {
    "folder": FolderDataset,
    "coco": CocoDataset,
    "yolo": YoloDataset,
    "labelme": LabelmeDataset,
    "cvat": CvatDataset,
}
"""The data sets of a user's own files, which are only where a user says."""

DATASETS: dict[str, Callable[..., Dataset]] = {
    "shapes": partial(ShapesDataset, TASKS[0]),
    **{f"shapes-{task}": partial(ShapesDataset, task) for task in TASKS[1:] if task != "named"},
    "shapes-named": NamedShapesDataset,
    **USER_DATASETS,
    **{name: partial(PublishedDataset, layout, text=layout.text) for name, layout in LAYOUTS.items()},
    "VOC2012": VOCDataset,
}
"""Constructors by name. Each takes `split` and, as keywords, the options of its data set, which only it declares."""

_COMMON = ("split", "on_error")  # every data set has these, and `load_dataset` names them itself


def dataset_parameters(name: str) -> dict[str, inspect.Parameter]:
    """Return the options that only this data set has.

    Args:
        name: A key of `DATASETS`, in upper or lower case.

    Returns:
        The parameters of the data set's constructor by name, with their types evaluated and with their defaults.

    Raises:
        OptionError: If there is no data set of this name.
    """
    parameters = inspect.signature(_constructor(name), eval_str=True).parameters
    return {key: parameter for key, parameter in parameters.items() if key not in _COMMON}


def load_dataset(name: str, split: str, on_error: str = "raise", **options: Any) -> Dataset:
    """Load one split of a data set.

    Args:
        name: A key of `DATASETS`, in upper or lower case.
        split: ``train`` or ``test``.
        on_error: ``raise``, or ``skip`` to leave out, with a warning, what is seen to be broken while the data set is
            opened. A sample whose files cannot be decoded is only found when it is loaded.
        **options: The data set's own options. Its constructor documents them.

    Returns:
        The data set.

    Raises:
        OptionError: If the name, the split or an option is unknown, or an option has a value that makes no sense.
        DataError: If files are missing or broken.
    """
    check_choice("on_error", on_error, ("raise", "skip"))
    constructor = _constructor(name)
    check_option_names(f"dataset={name!r}", options, dataset_parameters(name))
    if "on_error" in inspect.signature(constructor).parameters:  # drawn scenes, which cannot be broken, lack it
        options["on_error"] = on_error
    return constructor(split=split, **options)


def _constructor(name: str) -> Callable[..., Dataset]:
    by_lower_case = {known.lower(): known for known in DATASETS}
    known = by_lower_case.get(name.lower(), name)
    return DATASETS[check_choice("dataset", known, DATASETS)]
