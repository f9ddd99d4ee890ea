"""The data sets ``shapes`` and ``shapes-<task>``, whose samples are the scenes of `drawn_scenes`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache

from alignsam_gym.data import drawn_scenes
from alignsam_gym.data.published_datasets import LAYOUTS
from alignsam_gym.data.samples import Sample
from alignsam_gym.errors import check_choice

TEXTS = {
    task: LAYOUTS[mirrored].text
    for task, mirrored in {"saliency": "DUTS", "shadow": "SBU", "mirror": "MSD", "defocus": "CUHK"}.items()
}
"""Names of the tasks' targets: the paper's prompts for the data sets that the tasks mirror (Table 6)."""


class ShapesDataset:
    """The scenes of one task, one sample for each scene.

    The SRM's implicit branch is for these scenes. **[ours]** The paper takes the explicit one for SBU's shadows.

    Args:
        task: One of `drawn_scenes.TASKS`, but for ``named``.
        split: ``train`` (200 scenes) or ``test`` (100 scenes).

    Raises:
        OptionError: If the split is unknown.
    """

    branch = "implicit"

    def __init__(self, task: str, split: str) -> None:
        self.name = "shapes" if task == drawn_scenes.TASKS[0] else f"shapes-{task}"
        self.task = task
        self.split = check_choice("split", split, ("train", "test"))
        self.ids: Sequence[str] = [f"{split}{scene:04d}" for scene in range(drawn_scenes.SPLIT_SIZES[split])]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        scene = _draw(self.task, self.split, index)
        return Sample(self.ids[index], scene.image, scene.masks[self.task], text=TEXTS[self.task])


class NamedShapesDataset:
    """The scenes of the task ``named``, one sample for each kind of object in each scene, as Pascal VOC has them.

    The SRM's explicit branch is for these scenes, as for VOC in the paper. **[ours]**

    Args:
        split: ``train`` (200 scenes) or ``test`` (100 scenes).
        category: The only kind of object to segment: ``star``, ``ring``, ``cross``, ``triangle``, ``crescent`` or
            ``disc``. None takes all kinds.

    Raises:
        OptionError: If the split or the category is unknown.
    """

    name = "shapes-named"
    branch = "explicit"

    def __init__(self, split: str, category: str | None = None) -> None:
        self.split = check_choice("split", split, ("train", "test"))
        wanted = drawn_scenes.KINDS if category is None else (check_choice("category", category, drawn_scenes.KINDS),)
        scenes = range(drawn_scenes.SPLIT_SIZES[split])
        self.targets = [(scene, kind) for scene in scenes for kind in wanted if kind in _kinds(split, scene)]
        self.ids: Sequence[str] = [f"{split}{scene:04d}_{kind}" for scene, kind in self.targets]
        self.categories: Sequence[str] = [kind for _, kind in self.targets]
        self.groups: Sequence[str] = [str(scene) for scene, _ in self.targets]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        number, kind = self.targets[index]
        scene = _draw("named", self.split, number)
        return Sample(self.ids[index], scene.image, scene.masks[kind], text=kind)


@lru_cache(maxsize=64)
def _draw(task: str, split: str, index: int) -> drawn_scenes.Scene:
    return drawn_scenes.draw_scene(task, split, index)


@cache
def _kinds(split: str, index: int) -> tuple[str, ...]:
    return tuple(drawn_scenes.draw_scene("named", split, index).masks)
