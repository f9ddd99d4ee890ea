"""What a sample and a data set are, and how the few labelled images are drawn."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal, Protocol, get_args

import numpy as np

from alignsam_gym.errors import DataError, OptionError, check_choice

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sample:
    """One image and what is to be segmented in it.

    Attributes:
        id: A name that is unique in the data set. It names files and rows of tables.
        image: uint8 (H, W, 3), RGB.
        mask: bool (H, W), the ground truth.
        void: bool (H, W), True where a pixel has no label, or None if every pixel has one. Void pixels count as
            background for the reward, and losses and metrics leave them out. [ours; the paper does not say]
        text: What the target is called, for branches that are guided by text. None if it has no name.

    Raises:
        DataError: If an array has another type or size.
    """

    id: str
    image: np.ndarray
    mask: np.ndarray
    void: np.ndarray | None = None
    text: str | None = None

    def __post_init__(self) -> None:
        size = self.image.shape[:2]
        wanted = {"image": ((*size, 3), np.uint8), "mask": (size, bool), "void": (size, bool)}
        for name, (shape, dtype) in wanted.items():
            array = getattr(self, name)
            if array is not None and (array.shape, array.dtype) != (shape, dtype):
                raise DataError(
                    f"The {name} of {self.id} is {array.dtype} {array.shape}; it must be {np.dtype(dtype)} {shape}."
                )


class Dataset(Protocol):
    """A sequence of samples that are loaded when they are indexed, by several threads at once.

    A data set may have further attributes: `branch` (see `preferred_branch`), `groups` (see `sample_groups`) and
    `categories` (see `draw_shots`).

    Attributes:
        name: What the data set is called in files and tables.
        ids: The samples' ids, known before any sample is loaded, and always the same.
    """

    name: str
    ids: Sequence[str]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


def preferred_branch(dataset: Dataset) -> str:
    """Return the SRM's branch for a data set: its attribute `branch`, or ``implicit`` if it has none."""
    return getattr(dataset, "branch", "implicit")


def sample_groups(dataset: Dataset) -> list[str]:
    """Return the group of each sample. Samples of one group are much alike and must stay on one side of any split.

    It is the data set's attribute `groups`, or what `groups_from_ids` finds. If all samples are in one group, each
    becomes a group of its own.
    """
    groups = getattr(dataset, "groups", None)
    return groups_from_ids(dataset.ids) if groups is None else _groups_or_ids(groups, dataset.ids)


def groups_from_ids(ids: Sequence[str]) -> list[str]:
    """Return the group of each id: what stands before its last slash, such as a video's name before its frame's.

    If all ids are in one group, each becomes a group of its own.
    """
    return _groups_or_ids([name.rpartition("/")[0] for name in ids], ids)


def _groups_or_ids(groups: Sequence[str], ids: Sequence[str]) -> list[str]:
    return list(groups if len(set(groups)) > 1 else ids)


def assign_folds(dataset: Dataset, folds: int) -> list[int]:
    """Assign samples to folds for cross-fitting: the groups in turn, and the samples of one group together.

    Args:
        dataset: The labelled images.
        folds: The number of folds (``srm.folds``).

    Returns:
        The fold of each sample, from 0 to `folds` - 1.

    Raises:
        OptionError: If there are more folds than groups.
    """
    groups = sample_groups(dataset)
    order = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    if len(order) < folds:
        found = "1 image, or group of images," if len(order) == 1 else f"{len(order)} images or groups of images"
        raise OptionError(
            f"srm.folds={folds} is more than the {found} to learn from: label {folds} or more; srm.folds=1 does with "
            "one."
        )
    return [order[group] % folds for group in groups]


class Subset:
    """Some of a data set's samples.

    Args:
        dataset: The data set.
        indices: Which of its samples, and in which order.
    """

    def __init__(self, dataset: Dataset, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, list(indices)
        self.name = dataset.name
        self.branch = preferred_branch(dataset)
        self.ids: Sequence[str] = [dataset.ids[i] for i in self.indices]
        groups = sample_groups(dataset)
        self.groups: Sequence[str] = [groups[i] for i in self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.dataset[self.indices[index]]


ShotsPer = Literal["dataset", "category"]


def draw_shots(dataset: Dataset, shots: int, seed: int, per: str = "dataset", skip: bool = False) -> Dataset:
    """Draw the labelled images to learn from (§4.1 draws 50).

    The draw depends on the seed, the number of shots, and the number of samples and their categories only.

    Args:
        dataset: The training split.
        shots: How many to draw. A data set that has no more is taken whole.
        seed: Seed of the draw.
        per: ``dataset``, or ``category`` to draw as many for each category. The data set then needs an attribute
            `categories`, the category of each sample.
        skip: Whether to replace samples that cannot be loaded by others, with a warning.

    Returns:
        The samples drawn, in the order of the data set.

    Raises:
        OptionError: If `per` is unknown, or the data set has no categories.
        DataError: If no sample can be loaded.
    """
    rng = np.random.default_rng(seed)
    chosen: list[int] = []
    for candidates in _candidates(dataset, check_choice("shots_per", per, get_args(ShotsPer))):
        if shots >= len(candidates):
            drawn = candidates
        else:
            drawn = candidates[rng.choice(len(candidates), shots, replace=False)]
        if skip:
            own_rng = rng.spawn(1)[0]  # or the next category's draw would not be the one without `skip`
            spare = own_rng.permutation(np.setdiff1d(candidates, drawn))
            chosen += islice(_loadable(dataset, [*drawn.tolist(), *spare.tolist()]), shots)
        else:
            chosen += drawn.tolist()
    return _subset(dataset, sorted(chosen))


def all_but(dataset: Dataset, labelled: Dataset) -> Dataset:
    """Return the samples that are not among the labelled ones: development images, to choose settings by.

    They may belong to the groups of labelled images, such as frames of one video; test images may not.

    Args:
        dataset: The training split.
        labelled: What `draw_shots` drew of it.

    Raises:
        DataError: If all samples are labelled images.
    """
    taken = set(labelled.ids)
    left = [index for index, name in enumerate(dataset.ids) if name not in taken]
    if not left:
        raise DataError(
            f"{dataset.name} has no development images, as all {len(dataset)} of its training split are labelled ones; "
            "lower env.shots."
        )
    return Subset(dataset, left)


def without_broken(dataset: Dataset) -> Dataset:
    """Return the samples that can be loaded, and warn of the others.

    Raises:
        DataError: If no sample can be loaded.
    """
    return _subset(dataset, list(_loadable(dataset, range(len(dataset)))))


def _candidates(dataset: Dataset, per: str) -> list[np.ndarray]:
    """Return the indices from which shots are drawn: all together, or those of each category."""
    if per == "dataset":
        return [np.arange(len(dataset))]
    categories = np.array(getattr(dataset, "categories", ()))
    if not len(categories):
        raise OptionError(f"shots_per='category' needs a data set with categories, which {dataset.name} has not.")
    return [np.flatnonzero(categories == category) for category in np.unique(categories)]


def _loadable(dataset: Dataset, indices: Iterable[int]) -> Iterator[int]:
    """Yield the indices whose samples can be loaded, and warn of the others."""
    for index in indices:
        try:
            dataset[index]
        except DataError as error:
            log.warning("Left out: %s", error)
        else:
            yield index


def _subset(dataset: Dataset, indices: Sequence[int]) -> Dataset:
    if not indices:
        raise DataError(f"No sample of {dataset.name} can be loaded; the warnings say why.")
    return dataset if len(indices) == len(dataset) else Subset(dataset, indices)
