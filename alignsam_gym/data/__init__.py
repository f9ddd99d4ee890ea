"""Data sets by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from alignsam_gym.data.folder import FolderDataset
from alignsam_gym.data.samples import Dataset, Sample, Subset, draw_shots, preferred_branch
from alignsam_gym.data.shapes import TASKS
from alignsam_gym.data.synthetic import ShapesDataset
from alignsam_gym.errors import OptionError

__all__ = ["DATASETS", "Dataset", "Sample", "Subset", "draw_shots", "load_dataset", "preferred_branch"]

DATASETS: dict[str, Callable[..., Dataset]] = {
    "shapes": partial(ShapesDataset, TASKS[0]),
    **{f"shapes-{task}": partial(ShapesDataset, task) for task in TASKS[1:]},
    "folder": FolderDataset,
}
"""Name -> constructor, which takes `split` and the data set's own options."""


def load_dataset(name: str, split: str, **options: Any) -> Dataset:
    """The data set `name` (in any case), with the options that its constructor documents.

    Raises OptionError for an unknown name or option, DataError for data that is missing or broken.
    """
    constructor = DATASETS.get(name.lower())
    if constructor is None:
        raise OptionError(f"dataset={name!r} is unknown; choose one of {', '.join(DATASETS)}.")
    known = inspect.signature(constructor).parameters.keys() - {"split"}
    if unknown := options.keys() - known:
        raise OptionError(
            f"dataset={name!r} has no option {', '.join(sorted(unknown))}; "
            f"it takes {', '.join(sorted(known)) or 'none'}."
        )
    return constructor(split=split, **options)
