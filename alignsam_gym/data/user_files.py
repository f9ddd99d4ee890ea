"""What the data sets of a user's own files have in common: their options, and which images are held out."""

from __future__ import annotations

import fnmatch
import hashlib
import logging
import posixpath
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, TypeVar

from alignsam_gym.data.image_files import IntensityRange, check_intensity_range
from alignsam_gym.data.samples import groups_from_ids
from alignsam_gym.errors import DataError, OptionError, check_number
from alignsam_gym.options import Options, option

log = logging.getLogger(__name__)

AUTO = "auto"
TEST_FOLDERS = ("test", "val", "valid", "validation")
"""Names of the folder to test on, which stands beside ``train``. The first of those that are there is taken. [ours]"""

_SHARE = 0.2  # of the images, if no folder is called so
_FEW_GROUPS = 5
_FAR = 0.1  # from the share that was asked for

T = TypeVar("T")


@dataclass(frozen=True)
class UserFilesOptions(Options):
    """Options of every data set of a user's own files.

    Raises:
        OptionError: A value makes no sense.
    """

    split: Literal["train", "test"] = option("`train` or `test`.", required=True)
    root: str | Path | None = option(
        "The folder of the data set. If it holds `train/` and `test/` (or else `val/`, `valid/` or `validation/`) with "
        "all that in each, these are the splits; otherwise `test` splits it.",
        None,
    )
    images: str = option(
        "Name of the folder of images below `root`, or below each split's folder. It is searched with its subfolders.",
        "images",
    )
    test: float | str | Sequence[str] = option(
        "Which images are held out as test split, if `root` is not split already: a share of them between 0 and 1, or "
        'one or more patterns (`"dog/*"`) of their paths below `images`, without suffix. `auto` takes the folder '
        "`test` below `images`, or else `val`, `valid` or `validation`, if `train` is beside it and no folder of "
        "another name; otherwise a share of 0.2. With `groups=none` it is always the share.",
        AUTO,
    )
    groups: Literal["folder", "none"] = option(
        "`folder`: images in one folder stay on one side, as frames of one video must, so a share counts folders where "
        "there are several. `none`: every image for itself.",
        "folder",
    )
    seed: int = option("Seed of the share's draw.", 0, least=0, reason="seeds are 0 and above")
    intensity_range: IntensityRange = option(
        "Which stored values become black and white in images of more than 8 bits: `auto`, `full`, or two numbers.",
        "auto",
    )
    text: str | None = option("What the masks show, for branches that are guided by text.", None)
    on_error: Literal["raise", "skip"] = option(
        "`raise`, or `skip` to leave out, with a warning, images whose files are not whole.", "raise"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_intensity_range(self.intensity_range)

    @property
    def draws(self) -> bool:
        """Whether the user says how the test split is drawn, so that the names of folders do not."""
        return self.test != AUTO or self.groups == "none"

    @property
    def share_or_patterns(self) -> float | str | Sequence[str]:
        """The share or the patterns by which the test split is drawn, where folders do not name it."""
        return _SHARE if self.test == AUTO else self.test

    @property
    def skips(self) -> bool:
        """Whether what is broken is left out."""
        return self.on_error == "skip"

    @property
    def content(self) -> str:
        """What `root` holds, for messages."""
        return f"{self.images}/"

    def locate(self) -> Path:
        """Return the folder `root`.

        Raises:
            OptionError: It is not given.
            DataError: It does not exist.
        """
        if self.root is None:
            raise OptionError(f"{self.title} needs root=<the folder that holds {self.content}>.")
        base = Path(self.root).expanduser()
        if not base.is_dir():
            raise DataError(f"There is no folder {base}: root must hold {self.content}, or train/ and test/.")
        return base

    def locate_part(self, part: str) -> tuple[Path, bool]:
        """Return the folder that holds a file or folder of the split, and whether it holds the split alone.

        Args:
            part: The path of the file or folder below `root`, or below each split's folder.
        """
        base = self.locate()
        folders = split_folders(base, part)
        if not folders or (self.draws and (base / part).exists()):
            return base, False
        log.info("%s: the %s split is %s/", base, self.split, folders[self.split].name)
        if self.split == "train":
            _tell_unused(base, [name for name in TEST_FOLDERS if (base / name / part).exists()])
        return folders[self.split], True


def split_folders(base: Path, part: str) -> dict[str, Path]:
    """Return the folders of ``train`` and ``test`` in a folder that is split already; of any other, none.

    Args:
        base: The folder. It is split if it holds ``train`` and one of `TEST_FOLDERS`.
        part: The file or folder that must be in both. A path that begins elsewhere is in neither.
    """
    names = [name for name in ("train", *TEST_FOLDERS) if (base / name / part).exists()]
    if Path(part).is_absolute() or len(names) < 2 or names[0] != "train":
        return {}
    return {"train": base / "train", "test": base / names[1]}


def about_splits(base: Path) -> str:
    """Say what must be beside a folder ``train``, if there is one but nothing to test on."""
    if not (base / "train").is_dir():
        return ""
    *others, last = [f"{name}/" for name in TEST_FOLDERS]
    return f" {base} holds train/, so it must also hold {', '.join(others)} or {last}, and the same folders in both."


def choose_split(
    samples: Mapping[str, T], options: UserFilesOptions, already: bool
) -> tuple[dict[str, T], dict[str, str]]:
    """Choose the samples of a split, and tell what landed where.

    Folders below that of the images may be called as splits are; otherwise whole folders are drawn, or images.

    Args:
        samples: All samples by their ids.
        options: Which split, and how to draw it.
        already: Whether `samples` are those of the split already.

    Returns:
        The samples of the split by their ids, and the group of each id.

    Raises:
        OptionError: `test` is no share.
        DataError: There are no samples, or the split is empty.
    """
    if not samples:
        raise DataError(f"No image below {options.root} is left; the warnings say why.")
    if already:
        return dict(samples), _group_of(samples, options)
    by_folder = {} if options.draws else _by_split_folder(samples)
    if by_folder:
        train, test = _named_splits(by_folder, options)
        group_of = _group_of(train if options.split == "train" else test, options)
    else:
        group_of = _group_of(samples, options)
        test = _held_out(list(samples), group_of, options)
        train = samples.keys() - test
        if options.split == "train":
            _tell_split(samples, test, group_of, options)
    if options.split == "test":
        log.info("%s: the test split is %d of %d images", options.root, len(test), len(samples))
    chosen = {name: samples[name] for name in samples if name in (test if options.split == "test" else train)}
    if not chosen:
        raise DataError(
            f"The {options.split} split of {options.root} is empty with test={options.test!r}; choose another share or "
            "patterns."
        )
    return chosen, group_of


def _group_of(ids: Iterable[str], options: UserFilesOptions) -> dict[str, str]:
    """Return the group of each id, of which none is in both splits."""
    listed = list(ids)
    return dict(zip(listed, groups_from_ids(listed) if options.groups == "folder" else listed, strict=True))


def _by_split_folder(ids: Iterable[str]) -> dict[str, set[str]]:
    """Return ids by the folders that tell splits apart: ``train`` and one or more of `TEST_FOLDERS`; else none.

    They are the highest folders that not all ids are in.
    """
    folders = {name: PurePosixPath(name).parent for name in ids}
    depth = len(PurePosixPath(posixpath.commonpath(folders.values())).parts)
    by_folder: dict[str, set[str]] = {}
    for name, folder in folders.items():
        part = folder.parts[depth].lower() if len(folder.parts) > depth else ""
        by_folder.setdefault(part, set()).add(name)
    is_split = len(by_folder) > 1 and "train" in by_folder and by_folder.keys() <= {"train", *TEST_FOLDERS}
    return by_folder if is_split else {}


def _named_splits(by_folder: Mapping[str, set[str]], options: UserFilesOptions) -> tuple[set[str], set[str]]:
    """Return the ids to train on and those to test on, and tell how many they are and whose folders are left out."""
    there = [name for name in TEST_FOLDERS if name in by_folder]
    train, test = by_folder["train"], by_folder[there[0]]
    if options.split == "train":
        log.info(
            "%s: %d images of train/ to train on, %d images of %s/ to test on",
            options.root,
            len(train),
            len(test),
            there[0],
        )
        _tell_unused(options.root, there)
    return train, test


def _tell_unused(root: str | Path | None, there: Sequence[str]) -> None:
    """Tell which of the folders that could be tested on are left out, as one is taken."""
    if len(there) > 1:
        unused = " and ".join(f"{name}/" for name in there[1:])
        log.info("%s: %s is neither trained on nor tested on, as there is %s/", root, unused, there[0])


def _held_out(ids: Sequence[str], group_of: Mapping[str, str], options: UserFilesOptions) -> set[str]:
    """Return the ids of the test split."""
    test = [options.share_or_patterns] if isinstance(options.share_or_patterns, str) else options.share_or_patterns
    if isinstance(test, Sequence):
        return {name for name in ids if any(fnmatch.fnmatch(name, pattern) for pattern in test)}
    check_number("test", test)
    if not 0 < test < 1:
        raise OptionError(f"test={test} is not a share between 0 and 1.")
    # The order of the groups' hashes does not depend on which other groups there are: a folder that grows keeps the
    # splits of what it had, but for groups at the margin.
    groups = sorted(set(group_of.values()), key=lambda name: hashlib.sha256(f"{options.seed}/{name}".encode()).digest())
    chosen = set(groups[: max(1, round(test * len(groups)))])
    return {name for name in ids if group_of[name] in chosen}


def _tell_split(
    samples: Mapping[str, object], held_out: set[str], group_of: Mapping[str, str], options: UserFilesOptions
) -> None:
    """Say how many images and folders are learned from and held out; warn if folders make that other than was asked."""
    count = len(set(group_of.values()))
    by_folder = count < len(samples)

    def described(ids: Collection[str]) -> str:
        return f"{len(ids)} images" + (f" of {len({group_of[name] for name in ids})} folders" if by_folder else "")

    summary = f"{options.root}: {described(samples.keys() - held_out)} to train on, {described(held_out)} to test on"
    share = len(held_out) / len(samples)
    asked = options.share_or_patterns if isinstance(options.share_or_patterns, int | float) else None
    if by_folder and asked is not None and (count < _FEW_GROUPS or abs(share - asked) > _FAR):
        folders = sorted({group_of[name] for name in held_out})
        log.warning(
            "%s (%.0f%%, with test=%g). Folders are kept whole, as if each were a video: %s to test on. If they are "
            "kinds of images instead, dataset.groups=none draws images from all of them.",
            summary,
            100 * share,
            asked,
            ", ".join(folders[:3]) + (", …" if len(folders) > 3 else ""),
        )
    else:
        log.info("%s", summary)
