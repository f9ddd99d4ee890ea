"""The data sets of the paper's tables that have one mask for each image, in the layouts that their authors publish."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from alignsam_gym.data.file_problems import FileProblems
from alignsam_gym.data.image_files import SUFFIXES
from alignsam_gym.data.mask_rule import MIDDLE, MaskRule
from alignsam_gym.data.paired_files import PairedDataset, match_files
from alignsam_gym.errors import DataError, DataNotFoundError, check_choice

ROOT_VARIABLE = "ALIGNSAM_DATA"


@dataclass(frozen=True)
class FolderTree:
    """The folders that a published data set unpacks to.

    Attributes:
        name: The data set's name in the paper's tables.
        page: URL of its publishers' page.
        home: The top folder of the published archive, which a user's copy may lack.
        parts: Paths below `home` that must exist: files, or folders with images in them.
    """

    name: str
    page: str
    home: str
    parts: tuple[str, ...]

    def locate(self, root: str | Path | None) -> Path:
        """Find the data set on this computer.

        Args:
            root: The folder that holds `parts`, or a folder one or two levels above it. None takes the folder that the
                environment variable ``ALIGNSAM_DATA`` names.

        Returns:
            The folder that holds `parts`.

        Raises:
            DataNotFoundError: If no part is there, or no folder is named.
            DataError: If some parts are missing. Either message shows the expected tree and where to get it.
        """
        base = root if root is not None else os.environ.get(ROOT_VARIABLE)
        if base is None:
            raise DataNotFoundError(
                f"{self.name} needs root=<its folder>, or ${ROOT_VARIABLE}, a folder of data sets.\n{self}"
            )
        candidates = self._candidates(Path(base).expanduser())
        fullest = max(candidates, key=lambda folder: sum(map(_filled, self._paths(folder))))
        paths = self._paths(fullest)
        if all(map(_filled, paths)):
            return fullest
        if not any(map(_filled, paths)):
            raise DataNotFoundError(f"{self.name} is not in {base}, nor in a folder there.\n{self}")
        found = "\n".join(f"  {path}: {_state(path)}" for path in paths)
        raise DataError(f"{self.name} is not whole. Found:\n{found}\n{self}")

    def _candidates(self, base: Path) -> list[Path]:
        """Return the folders to search, the nearest first: an archive may be unpacked into one of the set's name."""
        return [base, base / self.home, base / self.name, base / self.name / self.home]

    def _paths(self, folder: Path) -> list[Path]:
        return [folder / part for part in self.parts]

    def __str__(self) -> str:
        tree = "\n".join(f"  {self.home}/{part}" for part in self.parts)
        return f"Expected:\n{tree}\nIt is published at {self.page}"


@dataclass(frozen=True)
class Layout:
    """Everything that the loader must know about a published data set of images and masks.

    Attributes:
        name: The data set's name in the paper's tables.
        page: URL of its publishers' page.
        home: The top folder of the published archive.
        train: Image folder and mask folder of the training split, below `home`.
        test: The same of the test split.
        text: What the masks show: the paper's prompt, as Table 6 spells it. [ours; dataset.text]
        branch: The SRM's branch for it, ``implicit`` or ``explicit`` (Table 1).
        pattern: Pattern (`fnmatch`) of the names of the images that belong to it.
        held_out: If the splits share their folders, the number of images in the test split, the last by name. [ours]
    """

    name: str
    page: str
    home: str
    train: tuple[str, str]
    test: tuple[str, str]
    text: str
    branch: str
    pattern: str = "*"
    held_out: int = 0

    @property
    def tree(self) -> FolderTree:
        """The folders of both splits."""
        parts = dict.fromkeys((*self.train, *self.test))
        return FolderTree(self.name, self.page, self.home, tuple(parts))


class PublishedDataset(PairedDataset):
    """One split of a published data set of images and masks.

    `alignsam_gym.data.DATASETS` takes the default of `text` from the layout.

    Args:
        layout: One of `LAYOUTS`.
        split: ``train`` or ``test``, as published.
        root: The data set's folder, or one above it. None looks in the folder that the environment variable
            ``ALIGNSAM_DATA`` names; see `FolderTree.locate`.
        threshold: A mask's pixel is foreground if its luminance (0 to 255) is above this. None goes by the mask's
            colours, of which there must be two.
        invert: Whether to swap foreground and background.
        text: What the masks show, for branches that are guided by text.
        on_error: ``raise``, or ``skip`` to leave out, with a warning, images without a mask.

    Raises:
        OptionError: If an option has a value that makes no sense.
        DataError: If the tree is not whole, or an image has no mask; and when a sample is loaded, as `PairedDataset`
            does.
    """

    def __init__(
        self,
        layout: Layout,
        split: str,
        root: str | Path | None = None,
        *,
        threshold: float | None = MIDDLE,
        invert: bool = False,
        text: str | None,
        on_error: str = "raise",
    ) -> None:
        check_choice("split", split, ("train", "test"))
        tree = layout.tree
        base = tree.locate(root)
        images, masks = layout.test if split == "test" else layout.train
        part = slice(None)
        if layout.held_out:
            part = slice(-layout.held_out, None) if split == "test" else slice(-layout.held_out)
        problems = FileProblems(on_error == "skip")
        pairs = match_files(base / images, base / masks, problems, layout.pattern, part)
        problems.check()
        if not pairs:
            raise DataError(f"The {split} split of {layout.name} is empty below {base}.\n{tree}")
        super().__init__(layout.name, pairs, MaskRule(threshold, invert), text)
        self.branch = layout.branch


_LAYOUTS = (
    # Defocus blur. CUHK's authors publish no split, and the paper speaks of "the original testing set": here it is the
    # last 100 defocused images by name. [ours] `alignsam datasets CUHK --check` tells whether the masks of a copy mark
    # what is in focus instead.
    Layout(
        name="CUHK",
        page="http://www.cse.cuhk.edu.hk/leojia/projects/dblurdetect/",
        home="BlurDataset",
        train=("image", "gt"),
        test=("image", "gt"),
        text="defocus background",
        branch="implicit",
        pattern="out_of_focus*",
        held_out=100,
    ),
    # Shadows.
    Layout(
        name="SBU",
        page="https://www3.cs.stonybrook.edu/~cvl/projects/shadow_noisy_label/",
        home="SBU-shadow",
        train=("SBUTrain4KRecoveredSmall/ShadowImages", "SBUTrain4KRecoveredSmall/ShadowMasks"),
        test=("SBU-Test/ShadowImages", "SBU-Test/ShadowMasks"),
        text="shadow",
        branch="explicit",
    ),
    # Mirrors.
    Layout(
        name="MSD",
        page="https://mhaiyang.github.io/ICCV2019_MirrorNet/",
        home="MSD",
        train=("train/image", "train/mask"),
        test=("test/image", "test/mask"),
        text="glass",
        branch="implicit",
    ),
    # Salient objects. Table 6 spells the prompt "saliency object", Table 4 "salient objects". [ours; dataset.text]
    Layout(
        name="DUTS",
        page="http://saliencydetection.net/duts/",
        home="DUTS",
        train=("DUTS-TR/DUTS-TR-Image", "DUTS-TR/DUTS-TR-Mask"),
        test=("DUTS-TE/DUTS-TE-Image", "DUTS-TE/DUTS-TE-Mask"),
        text="saliency object",
        branch="implicit",
    ),
)
LAYOUTS = {layout.name: layout for layout in _LAYOUTS}
"""The published data sets of images and masks by name. A new one needs an entry here and, for the help of the commands,
its name in `experiments.command_help`."""


def _filled(path: Path) -> bool:
    return path.is_file() or bool(_images(path))


def _state(path: Path) -> str:
    if path.is_dir():
        return f"{len(_images(path))} pictures" if _images(path) else "a folder without pictures"
    return "a file" if path.is_file() else "missing"


def _images(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return [file.name for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file()]
