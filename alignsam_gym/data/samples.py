"""What a sample and a data set are, and how the few labelled images are drawn."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np

from alignsam_gym.errors import DataError, OptionError, check_choice

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sample:
    """One image and what is to be segmented in it. Raises DataError for arrays of other types or sizes than these.

    id: unique in its data set; names files and rows of tables.
    image: uint8 (H, W, 3), RGB.
    mask: bool (H, W), the ground truth.
    void: bool (H, W), pixels without a label, or None if every pixel has one. Void counts as background
        for the reward and is left out of losses and metrics. [ours; the paper does not say]
    text: what the target is called, for text-guided branches; None if it has no name.
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


def groups_from_ids(ids: Sequence[str]) -> list[str]:
    """The group of each id: what stands before its last slash, as a video's name does before its frames'.

    Members of one group are much alike and must stay on one side of any split. If there is only one, it is no
    grouping, and each id is a group of its own.
    """
    return _groups_or_ids([name.rpartition("/")[0] for name in ids], ids)


class Dataset(Protocol):
    """A sequence of samples, loaded when indexed, with stable ids that are known beforehand.

    It may also say which branch of the SRM suits it (`preferred_branch`), and which samples are much alike
    (`sample_groups`). Samples are loaded by several threads at once.
    """

    name: str
    ids: Sequence[str]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


def preferred_branch(dataset: Dataset) -> str:
    """The SRM's branch for a data set: its attribute ``branch``, or ``implicit`` if it has none."""
    return getattr(dataset, "branch", "implicit")


def sample_groups(dataset: Dataset) -> list[str]:
    """The group of each sample: the data set's attribute ``groups``, or what `groups_from_ids` reads from the ids."""
    groups = getattr(dataset, "groups", None)
    return groups_from_ids(dataset.ids) if groups is None else _groups_or_ids(groups, dataset.ids)


def _groups_or_ids(groups: Sequence[str], ids: Sequence[str]) -> list[str]:
    return list(groups if len(set(groups)) > 1 else ids)


def assign_folds(dataset: Dataset, folds: int) -> list[int]:
    """A fold for each sample: groups in turn, samples of one group together. Raises OptionError."""
    groups = sample_groups(dataset)
    order = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    if len(order) < folds:
        raise OptionError(f"srm.folds={folds} is more than the {len(order)} images or groups of images to learn from.")
    return [order[group] % folds for group in groups]


class Subset:
    """Some of a data set's samples, in the order of `indices`."""

    def __init__(self, whole: Dataset, indices: Sequence[int]) -> None:
        self.whole, self.indices = whole, list(indices)
        self.name = whole.name
        self.branch = preferred_branch(whole)
        self.ids: Sequence[str] = [whole.ids[i] for i in self.indices]
        groups = sample_groups(whole)
        self.groups: Sequence[str] = [groups[i] for i in self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.whole[self.indices[index]]


SHOTS_PER = ("dataset", "category")


def draw_shots(dataset: Dataset, shots: int, seed: int, per: str = "dataset", skip: bool = False) -> Dataset:
    """The `shots` labelled images to learn from (§4.1 draws 50), all of them if there are no more.

    per: ``dataset``, or ``category`` for so many of each, of a data set that lists its samples' `categories`.
    skip: samples that cannot be loaded are replaced by others, with a warning.

    The draw depends on `seed`, `shots` and the number of samples (and their categories) only. Raises OptionError, and
    DataError if no sample can be loaded.
    """
    rng = np.random.default_rng(seed)
    chosen: list[int] = []
    for members in _members(dataset, check_choice("shots_per", per, SHOTS_PER)):
        some = members if shots >= len(members) else members[rng.choice(len(members), shots, replace=False)]
        if skip:
            spare = rng.permutation(np.setdiff1d(members, some))
            some = np.array(list(islice(_loadable(dataset, [*some, *spare]), shots)), dtype=np.int64)
        chosen += some.tolist()
    if not chosen:
        raise DataError(f"No sample of {dataset.name} can be loaded; the warnings say why.")
    return dataset if len(chosen) == len(dataset) else Subset(dataset, sorted(chosen))


def without_broken(dataset: Dataset) -> Dataset:
    """The samples that can be loaded; there are warnings of the others. Raises DataError if there are none."""
    chosen = list(_loadable(dataset, range(len(dataset))))
    if not chosen:
        raise DataError(f"No sample of {dataset.name} can be loaded; the warnings say why.")
    return dataset if len(chosen) == len(dataset) else Subset(dataset, chosen)


def _members(dataset: Dataset, per: str) -> list[np.ndarray]:
    """Indices from which shots are drawn, for each draw."""
    if per == "dataset":
        return [np.arange(len(dataset))]
    categories = np.array(getattr(dataset, "categories", ()))
    if not len(categories):
        raise OptionError(f"shots_per='category' needs a data set with categories, which {dataset.name} has not.")
    return [np.flatnonzero(categories == category) for category in np.unique(categories)]


def _loadable(dataset: Dataset, indices: Iterable[int]) -> Iterator[int]:
    for index in indices:
        try:
            dataset[index]
        except DataError as error:
            log.warning("Left out: %s", error)
        else:
            yield index
