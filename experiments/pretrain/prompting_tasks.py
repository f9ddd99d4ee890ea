"""Dozens of tasks to learn prompting from: data sets made of the photographs and drawn scenes for pretraining."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from alignsam_gym.data import Dataset, drawn_scenes
from alignsam_gym.data.image_files import read_image
from alignsam_gym.data.samples import Sample
from alignsam_gym.data.voc_dataset import VOID
from alignsam_gym.experiments.pretrain.names import TAUGHT, VOCABULARIES
from alignsam_gym.experiments.pretrain.training_images import Photograph

_SMALLEST, _LARGEST = 0.005, 0.95  # share of an image that a target may have
_FEWEST = 40  # images of a task
_SCENES = 400  # of a drawn task

_GROUPS: dict[str, dict[str, tuple[str, ...]]] = {
    "voc": {
        "vehicles": ("aeroplane", "bicycle", "boat", "bus", "car", "motorbike", "train"),
        "furniture": ("chair", "diningtable", "sofa"),
        "animals": ("bird", "cat", "cow", "dog", "horse", "sheep"),
        "small things": ("bottle", "pottedplant", "tvmonitor"),
        "living beings": ("bird", "cat", "cow", "dog", "horse", "person", "sheep"),
        "wheels and riders": ("bicycle", "motorbike", "person"),
    },
    "clothing": {
        "tops": (
            "blazer",
            "blouse",
            "cardigan",
            "coat",
            "hoodie",
            "jacket",
            "jumper",
            "shirt",
            "suit",
            "sweater",
            "top",
        ),
        "bottoms": ("jeans", "leggings", "pants", "shorts", "skirt", "tights", "stockings"),
        "footwear": ("boots", "clogs", "flats", "heels", "loafers", "pumps", "sandals", "shoes", "sneakers", "wedges"),
        "skin and hair": ("skin", "hair"),
    },
    "streets": {
        "ground": ("road", "pavement"),
        "traffic": ("car on the road", "pedestrian", "bicyclist"),
        "built": ("building", "fence", "pole", "traffic sign"),
    },
}


class PhotographTask:
    """A data set of photographs, in each of which some regions are the target.

    Args:
        name: Of the task.
        targets: The photographs, and the labels of the regions that are the target in each.
    """

    def __init__(self, name: str, targets: Sequence[tuple[Photograph, Collection[int]]]) -> None:
        self.name, self.targets = name, targets
        self.ids: Sequence[str] = [f"{photo.regions.parent.name}/{photo.image.stem}" for photo, _ in targets]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> Sample:
        photograph, chosen = self.targets[index]
        image, labels = read_image(photograph.image), photograph.labels()
        return Sample(self.ids[index], image, np.isin(labels, list(chosen)), labels == VOID)


class DrawnTask:
    """A data set of drawn scenes of the pretraining split.

    Args:
        task: One of `drawn_scenes.TASKS`.
    """

    def __init__(self, task: str) -> None:
        self.task, self.name = task, f"drawn {task}"
        self.ids: Sequence[str] = [f"{task}-{number}" for number in range(_SCENES)]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        scene = drawn_scenes.draw_scene(self.task, "pretrain", index)
        return Sample(self.ids[index], scene.image, np.any(list(scene.masks.values()), axis=0))


class _Shown(NamedTuple):
    """A photograph and the share that each label, but void, has of it."""

    photograph: Photograph
    shares: Mapping[int, float]


def prompting_tasks(photographs: Iterable[Photograph], left_out: Collection[str] = ()) -> list[Dataset]:
    """Make all tasks: each named thing, groups of things, the largest region, and drawn scenes.

    Args:
        photographs: What the photographs' tasks are made of.
        left_out: Names of things, and of drawn tasks (``drawn mirror``). Photographs that show one are not used.
    """
    by_vocabulary: dict[str, list[_Shown]] = {}
    for shown in _shares(photographs):
        names = {_name(shown.photograph.vocabulary, label) for label in shown.shares}
        if not names & set(left_out):
            by_vocabulary.setdefault(shown.photograph.vocabulary, []).append(shown)
    tasks: list[Dataset] = []
    for vocabulary, shown_photographs in by_vocabulary.items():
        tasks += _tasks_of(vocabulary, shown_photographs)
    tasks += [task for task in map(DrawnTask, drawn_scenes.TASKS) if task.name not in left_out]
    return tasks


def left_out_tasks(photographs: Iterable[Photograph], left_out: Collection[str]) -> list[Dataset]:
    """Make the tasks of exactly those things that `prompting_tasks` leaves out."""
    every = prompting_tasks(photographs)
    return [task for task in every if {task.name, task.name.partition(" ")[2]} & set(left_out)]


def _tasks_of(vocabulary: str, shown: Sequence[_Shown]) -> list[Dataset]:
    """The tasks of all photographs whose labels mean the same."""
    if not vocabulary:  # regions without names
        return [_task("bsds largest region", [(each, _largest(each)) for each in shown])]
    labels = range(1, len(VOCABULARIES[vocabulary]) + 1)
    groups = {_name(vocabulary, label): {label} for label in labels}
    for group, names in _GROUPS.get(vocabulary, {}).items():
        groups[group] = {label for label in labels if _name(vocabulary, label) in names}
    if len(groups) > 1:
        groups["anything"] = set(labels)
    tasks: list[Dataset] = [
        _task(f"{vocabulary} {name}", [(each, members) for each in shown]) for name, members in groups.items()
    ]
    if len(groups) > 1:
        tasks.append(_task(f"{vocabulary} largest", [(each, _largest(each)) for each in shown]))
    return [task for task in tasks if len(task) >= _FEWEST]


def _task(name: str, candidates: Iterable[tuple[_Shown, Collection[int]]]) -> PhotographTask:
    """Keep the photographs in which the target is neither too small nor nearly everything."""
    kept = [
        (shown.photograph, members)
        for shown, members in candidates
        if _SMALLEST <= sum(shown.shares.get(label, 0.0) for label in members) <= _LARGEST
    ]
    return PhotographTask(name, kept)


def _largest(shown: _Shown) -> list[int]:
    """The label with the largest share, background apart."""
    named = {label: share for label, share in shown.shares.items() if label}
    return [max(named, key=lambda label: named[label])] if named else []


def _name(vocabulary: str, label: int) -> str:
    """The first word for a label; nothing for the background, and where labels have no names."""
    return TAUGHT[VOCABULARIES[vocabulary][label - 1]][0] if label and vocabulary else ""


def _shares(photographs: Iterable[Photograph]) -> list[_Shown]:
    with ThreadPoolExecutor() as pool:
        return list(pool.map(_shown, photographs))


def _shown(photograph: Photograph) -> _Shown:
    labels = photograph.labels()
    counts = np.bincount(labels.ravel(), minlength=VOID + 1)[:VOID]
    return _Shown(photograph, {int(label): counts[label] / labels.size for label in np.flatnonzero(counts)})
