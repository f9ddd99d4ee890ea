"""Data sets by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from alignsam_gym.data.augmentation import Augmented
from alignsam_gym.data.drawn_scenes import TASKS
from alignsam_gym.data.folder_dataset import FolderDataset
from alignsam_gym.data.published_datasets import PAIRED, PublishedDataset
from alignsam_gym.data.samples import Dataset, Sample, Subset, draw_shots, preferred_branch, without_broken
from alignsam_gym.data.shapes_dataset import ShapesDataset
from alignsam_gym.data.voc_dataset import VOCDataset
from alignsam_gym.errors import OptionError, check_choice

__all__ = [
    "DATASETS",
    "Augmented",
    "Dataset",
    "Sample",
    "Subset",
    "draw_shots",
    "load_dataset",
    "preferred_branch",
    "without_broken",
]

DATASETS: dict[str, Callable[..., Dataset]] = {
    "shapes": partial(ShapesDataset, TASKS[0]),
    **{f"shapes-{task}": partial(ShapesDataset, task) for task in TASKS[1:]},
    "folder": FolderDataset,
    **{name: partial(PublishedDataset, layout) for name, layout in PAIRED.items()},
    "VOC2012": VOCDataset,
}
"""Name -> constructor, which takes `split` and the data set's own options."""


def load_dataset(name: str, split: str, on_error: str = "raise", **options: Any) -> Dataset:
    """The data set `name` (in any case), with the options that its constructor documents.

    on_error: ``raise``, or ``skip`` to leave out, with a warning, samples that are seen to be broken.
    Raises OptionError for an unknown name or option, DataError for data that is missing or broken.
    """
    check_choice("on_error", on_error, ("raise", "skip"))
    constructor = {known.lower(): found for known, found in DATASETS.items()}.get(name.lower())
    if constructor is None:
        raise OptionError(f"dataset={name!r} is unknown; choose one of {', '.join(DATASETS)}.")
    known = inspect.signature(constructor).parameters.keys() - {"split"}
    if "on_error" in known:  # what is drawn cannot be broken
        options["on_error"] = on_error
    if unknown := options.keys() - known:
        raise OptionError(
            f"dataset={name!r} has no option {', '.join(sorted(unknown))}; "
            f"it takes {', '.join(sorted(known)) or 'none'}."
        )
    return constructor(split=split, **options)
