"""Lists the data sets: which are here, how many samples they have, and what is wrong with them.

python -m experiments.datasets
python -m experiments.datasets DUTS --root ~/data --check
python -m experiments.datasets folder --root photos --check --option foreground=[1]
python -m experiments.datasets coco --root photos --check --option annotations=labels.json --option categories=cat
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
import yaml
from rich.console import Console
from rich.progress import track
from rich.table import Table

from alignsam_gym.data import DATASETS, USER_DATASETS, Dataset, dataset_parameters, load_dataset, preferred_branch
from alignsam_gym.data.paired_files import PairedDataset
from alignsam_gym.data.samples import Sample
from alignsam_gym.errors import AlignSAMError, DataError, DataNotFoundError, OptionError, check_option_names

SPLITS = ("train", "test")
_SHOWN = 10  # problems of one split


def list_datasets(
    names: Sequence[str], root: str | None, check: bool, options: Mapping[str, Any] = MappingProxyType({})
) -> None:
    """Print a table of data sets, and end with exit status 1 if something is wrong with one of them.

    Args:
        names: Keys of `DATASETS`. If empty, all are listed, and one that is not here is no trouble.
        root: Folder of the data set or of several; None for ``$ALIGNSAM_DATA``.
        check: Whether to open every image and mask.
        options: Further options of the data sets that are named.
    """
    logging.basicConfig(format="%(message)s")
    table = Table("data set", "train", "test", "branch", "text", "state", title="data sets")
    troubles: list[str] = []
    for name in names or [known for known in DATASETS if known not in USER_DATASETS]:
        try:
            splits = [load_dataset(name, split, **_options(name, root, options)) for split in SPLITS]
        except DataNotFoundError as error:
            troubles += [str(error)] if names else []
            table.add_row(name, "", "", "", "", "not here")
            continue
        except AlignSAMError as error:
            troubles.append(str(error))
            table.add_row(name, "", "", "", "", "see below")
            continue
        problems = [line for data in splits for line in find_problems(data)] if check else []
        troubles += problems
        state = f"{len(problems)} problems" if problems else "whole" if check else "here"
        counts = [str(len(data)) for data in splits]
        table.add_row(splits[0].name, *counts, preferred_branch(splits[0]), _texts(splits[1]), state)
    Console().print(table)
    if troubles:
        sys.exit("\n".join(troubles))


def find_problems(data: Dataset) -> list[str]:
    """Open every sample of a data set.

    Returns:
        A line for each of the first few samples that cannot be used, and for a doubtful polarity.
    """
    with ThreadPoolExecutor() as pool:
        found = list(track(pool.map(lambda i: _look(data, i), range(len(data))), data.name, total=len(data)))
    broken = [finding for finding in found if isinstance(finding, str)]
    lines = broken[:_SHOWN] + ([f"… and {len(broken) - _SHOWN} more"] if len(broken) > _SHOWN else [])
    sharper = [finding for finding in found if isinstance(finding, bool)]
    if np.mean(sharper or [False]) > 0.5:
        inverted = isinstance(data, PairedDataset) and data.rule.invert
        lines.append(
            f"CUHK's target is what is out of focus, but what its masks mark is sharper than the rest in "
            f"{np.mean(sharper):.0%} of the images: set dataset.invert={'false' if inverted else 'true'}."
        )
    return lines


def _look(data: Dataset, index: int) -> str | bool | None:
    """What is wrong with a sample, or else, of CUHK's, whether its target is sharper than the rest."""
    try:
        sample = data[index]
    except DataError as error:
        return str(error)
    return is_sharper_inside(sample) if data.name == "CUHK" else None


def is_sharper_inside(sample: Sample) -> bool | None:
    """Return whether the image has stronger edges in the target than outside; None if all is target, or nothing."""
    if sample.mask.all() or not sample.mask.any():
        return None
    edges = np.abs(cv2.Laplacian(cv2.cvtColor(sample.image, cv2.COLOR_RGB2GRAY), cv2.CV_32F))
    return bool(edges[sample.mask].mean() > edges[~sample.mask].mean())


def _options(name: str, root: str | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """Put a data set's options together; those that it lacks, and a folder that is named twice, are errors."""
    known = dataset_parameters(name)
    check_option_names(f"dataset={name!r}", given, [*known, "on_error"])
    if root is None or "root" not in known:
        return dict(given)
    if "root" in given:
        raise OptionError(f"--root {root} and --option root={given['root']} both name the folder; give one of them.")
    return {"root": root, **given}


def parse_options(words: Sequence[str]) -> dict[str, Any]:
    """Read options of a data set as they are typed: ``foreground=[1]``, perhaps with ``dataset.`` before it.

    Raises:
        OptionError: If a word is no ``key=value``.
    """
    options = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise OptionError(f"--option {word}: it must be KEY=VALUE, such as foreground=[1].")
        try:
            options[name.removeprefix("dataset.")] = yaml.safe_load(value)
        except yaml.YAMLError:  # {stem}_mask
            options[name.removeprefix("dataset.")] = value
    return options


def _texts(data: Dataset) -> str:
    categories: Sequence[str] | None = getattr(data, "categories", None)
    return f"{len(set(categories))} categories" if categories is not None else getattr(data, "text", None) or ""


if __name__ == "__main__":
    from alignsam_gym.experiments.cli import run_from_module

    run_from_module("datasets")
