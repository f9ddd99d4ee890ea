"""What a sample and a data set are, and how the few labelled images are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Sample:
    """One image and what is to be segmented in it.

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


def groups_of(ids: Sequence[str]) -> list[str]:
    """The group of each id: what stands before its last slash, as a video's name does before its frames'.

    Members of one group are much alike and must stay on one side of any split. If there is only one, it is no
    grouping, and each id is a group of its own.
    """
    groups = [name.rpartition("/")[0] for name in ids]
    return groups if len(set(groups)) > 1 else list(ids)


class Dataset(Protocol):
    """A sequence of samples, loaded when indexed, with stable ids that are known beforehand.

    It may also say which branch of the SRM suits it (`preferred_branch`).
    """

    name: str
    ids: Sequence[str]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


def preferred_branch(dataset: Dataset) -> str:
    """The SRM's branch for a data set: its attribute ``branch``, or ``implicit`` if it has none."""
    return getattr(dataset, "branch", "implicit")


class Subset:
    """Some of a data set's samples, in the order of `indices`."""

    def __init__(self, whole: Dataset, indices: Sequence[int]) -> None:
        self.whole, self.indices = whole, list(indices)
        self.name = whole.name
        self.branch = preferred_branch(whole)
        self.ids: Sequence[str] = [whole.ids[i] for i in self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.whole[self.indices[index]]


def draw_shots(dataset: Dataset, shots: int, seed: int) -> Dataset:
    """The `shots` labelled images to learn from (§4.1 draws 50), all of them if there are no more.

    The draw depends on `seed`, `shots` and the number of samples only.
    """
    if shots >= len(dataset):
        return dataset
    chosen = np.random.default_rng(seed).choice(len(dataset), shots, replace=False)
    return Subset(dataset, sorted(chosen.tolist()))
