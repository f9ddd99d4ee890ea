"""The data sets of the paper's tables, in the layouts in which their authors publish them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alignsam_gym.data.image_files import SUFFIXES
from alignsam_gym.data.paired_files import PairedDataset, match_files
from alignsam_gym.errors import DataError, DataNotFoundError, check_choice

ROOT_VARIABLE = "ALIGNSAM_DATA"


@dataclass(frozen=True)
class Tree:
    """Where a data set comes from, and the folders that it unpacks to.

    name: as the tables call it. page: its publishers'. home: the archive's own top folder, which may be missing.
    parts: paths below it that must exist, folders of pictures or files.
    """

    name: str
    page: str
    home: str
    parts: tuple[str, ...]

    def locate(self, root: str | Path | None) -> Path:
        """The folder that holds `parts`.

        root: that folder or one above it; None looks in ``$ALIGNSAM_DATA``. Raises DataNotFoundError, or DataError
        if some is there; both show the expected tree, what there is of it, and where the rest can be had.
        """
        base = root if root is not None else os.environ.get(ROOT_VARIABLE)
        if base is None:
            raise DataNotFoundError(
                f"{self.name} needs root=<its folder>, or ${ROOT_VARIABLE}, a folder of data sets.\n{self}"
            )
        candidates = self._candidates(Path(base).expanduser())
        here = max(candidates, key=lambda folder: sum(map(_filled, self._paths(folder))))
        if all(map(_filled, self._paths(here))):
            return here
        if not any(map(_filled, self._paths(here))):
            raise DataNotFoundError(f"{self.name} is not in {base}, nor in a folder there.\n{self}")
        found = "\n".join(f"  {path}: {_state(path)}" for path in self._paths(here))
        raise DataError(f"{self.name} is not whole. Found:\n{found}\n{self}")

    def _candidates(self, base: Path) -> list[Path]:
        """From the nearest: the folder itself, or what was unpacked in it or in a folder of the data set's name."""
        return [base, base / self.home, base / self.name, base / self.name / self.home]

    def _paths(self, folder: Path) -> list[Path]:
        return [folder / part for part in self.parts]

    def __str__(self) -> str:
        tree = "\n".join(f"  {self.home}/{part}" for part in self.parts)
        return f"Expected:\n{tree}\nIt is published at {self.page}"


class PublishedDataset(PairedDataset):
    """One of `PAIRED`, the paper's data sets of pictures and masks.

    layout: which. split: ``train`` or ``test``, as published. root: see `Tree.locate`.
    threshold, invert: which luminance of a mask is foreground; see `PairedDataset`.
    text: what the masks show; None takes the paper's prompt (Table 6).
    on_error: ``raise``, or ``skip`` to leave out images without a mask.

    Raises DataError for a tree that is not whole and an image without a mask, and as `PairedDataset` does.
    """

    def __init__(
        self,
        layout: Layout,
        split: str,
        root: str | Path | None = None,
        threshold: int = 127,
        invert: bool = False,
        text: str | None = None,
        on_error: str = "raise",
    ) -> None:
        check_choice("split", split, ("train", "test"))
        base = layout.tree.locate(root)
        images, masks = layout.folders[split]
        part = slice(None)
        if last := layout.held_out:
            part = slice(-last, None) if split == "test" else slice(-last)
        pairs = match_files(base / images, base / masks, on_error == "skip", layout.pattern, part)
        if not pairs:
            raise DataError(f"The {split} split of {layout.tree.name} is empty below {base}.\n{layout.tree}")
        super().__init__(layout.tree.name, pairs, threshold, invert, text or layout.text)
        self.branch = layout.branch


@dataclass(frozen=True)
class Layout:
    """How a data set of pictures and masks is used.

    folders: split -> image and mask folder, below the tree. text: the prompt (Table 6). branch: of the SRM (Table 1).
    pattern: of the images that belong to it. held_out: where the splits share their folders, so many images, the
    last by name, are the test split.
    """

    tree: Tree
    folders: Mapping[str, tuple[str, str]]
    text: str
    branch: str
    pattern: str = "*"
    held_out: int = 0

    @classmethod
    def of(cls, name: str, page: str, home: str, train: tuple[str, str], test: tuple[str, str], **use: Any) -> Layout:
        """From a `Tree`'s fields, each split's image and mask folder, and the other fields."""
        parts = tuple(dict.fromkeys((*train, *test)))
        return cls(Tree(name, page, home, parts), {"train": train, "test": test}, **use)


PAIRED = {
    layout.tree.name: layout
    for layout in (
        Layout.of(
            "CUHK",
            "http://www.cse.cuhk.edu.hk/leojia/projects/dblurdetect/",
            "BlurDataset",
            ("image", "gt"),
            ("image", "gt"),
            text="defocus background",
            branch="implicit",
            pattern="out_of_focus*",
            held_out=100,
        ),
        Layout.of(
            "SBU",
            "https://www3.cs.stonybrook.edu/~cvl/projects/shadow_noisy_label/",
            "SBU-shadow",
            ("SBUTrain4KRecoveredSmall/ShadowImages", "SBUTrain4KRecoveredSmall/ShadowMasks"),
            ("SBU-Test/ShadowImages", "SBU-Test/ShadowMasks"),
            text="shadow",
            branch="explicit",
        ),
        Layout.of(
            "MSD",
            "https://mhaiyang.github.io/ICCV2019_MirrorNet/",
            "MSD",
            ("train/image", "train/mask"),
            ("test/image", "test/mask"),
            text="glass",
            branch="implicit",
        ),
        Layout.of(
            "DUTS",
            "http://saliencydetection.net/duts/",
            "DUTS",
            ("DUTS-TR/DUTS-TR-Image", "DUTS-TR/DUTS-TR-Mask"),
            ("DUTS-TE/DUTS-TE-Image", "DUTS-TE/DUTS-TE-Mask"),
            text="saliency object",
            branch="implicit",
        ),
    )
}


def _filled(path: Path) -> bool:
    return path.is_file() or bool(_pictures(path))


def _state(path: Path) -> str:
    if path.is_dir():
        return f"{len(_pictures(path))} pictures" if _pictures(path) else "a folder without pictures"
    return "a file" if path.is_file() else "missing"


def _pictures(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return [file.name for file in folder.iterdir() if file.suffix.lower() in SUFFIXES]
