"""The drawn scenes of `shapes` as data sets."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache

from alignsam_gym.data import drawn_scenes
from alignsam_gym.data.samples import Sample
from alignsam_gym.errors import OptionError, check_choice

TEXTS = {"saliency": "saliency object", "shadow": "shadow", "mirror": "glass", "defocus": "defocus background"}
"""What the targets of the tasks are called: as the paper calls those of the data sets that they mirror (§4.1)."""


class ShapesDataset:
    """Scenes of one task. ``named`` has one sample for each (scene, kind present), as Pascal VOC has.

    As with VOC in the paper, the explicit branch is for ``named`` scenes, the implicit one for the others. **[ours]**
    The paper has the explicit one for SBU's shadows too.

    task: one of `drawn_scenes.TASKS`. split: ``train`` (200 scenes) or ``test`` (100 scenes).
    category: keep only this kind of a ``named`` scene; None keeps all.
    """

    def __init__(self, task: str, split: str, category: str | None = None) -> None:
        check_choice("split", split, ("train", "test"))
        if category is not None:
            if task != "named":
                raise OptionError(f"category={category!r} applies to dataset='shapes-named' only.")
            check_choice("category", category, drawn_scenes.KINDS)
        self.name = "shapes" if task == drawn_scenes.TASKS[0] else f"shapes-{task}"
        self.task, self.split = task, split
        self.branch = "explicit" if task == "named" else "implicit"
        scenes = range(drawn_scenes.SPLIT_SIZES[split])
        if task == "named":
            wanted = [category] if category else list(drawn_scenes.KINDS)
            self.targets = [(i, kind) for i in scenes for kind in wanted if kind in _kinds(split, i)]
        else:
            self.targets = [(i, task) for i in scenes]
        suffix = "_{1}" if task == "named" else ""
        self.ids: Sequence[str] = [(f"{split}{{0:04d}}" + suffix).format(*target) for target in self.targets]

        if task == "named":
            self.categories = [kind for _, kind in self.targets]
            self.groups = [str(scene) for scene, _ in self.targets]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> Sample:
        scene, target = self.targets[index]
        drawn = _draw(self.task, self.split, scene)
        return Sample(self.ids[index], drawn.image, drawn.masks[target], text=TEXTS.get(target, target))


@lru_cache(maxsize=64)
def _draw(task: str, split: str, index: int) -> drawn_scenes.Scene:
    return drawn_scenes.draw(task, split, index)


@cache
def _kinds(split: str, index: int) -> tuple[str, ...]:
    return tuple(drawn_scenes.draw("named", split, index).masks)
