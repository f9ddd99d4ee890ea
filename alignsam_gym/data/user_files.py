"""What the data sets of a user's own files have in common: their options, and which images are held out."""

from __future__ import annotations

import fnmatch
import hashlib
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from alignsam_gym.data.image_files import IntensityRange, check_intensity_range
from alignsam_gym.data.samples import groups_from_ids
from alignsam_gym.errors import DataError, OptionError, check_number
from alignsam_gym.options import Options, option

log = logging.getLogger(__name__)

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
        "The folder of the data set. If it holds `train/` and `test/` with all that in each, these are the splits; "
        "otherwise `test` splits it.",
        None,
    )
    images: str = option(
        "Name of the folder of images below `root`, or below each split's folder. It is searched with its subfolders.",
        "images",
    )
    test: float | str | Sequence[str] = option(
        "Which images are held out as test split, if `root` is not split already: a share of them between 0 and 1, or "
        'one or more patterns (`"dog/*"`) of their paths below `images`, without suffix.',
        0.2,
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


def is_split_already(base: Path, part: str) -> bool:
    """Return whether a folder holds ``train/`` and ``test/`` with this file or folder in each, not one elsewhere."""
    return not Path(part).is_absolute() and all((base / split / part).exists() for split in ("train", "test"))


def choose_split(
    samples: Mapping[str, T], options: UserFilesOptions, already: bool
) -> tuple[dict[str, T], dict[str, str]]:
    """Choose the samples of a split, and tell what landed where.

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
    groups = groups_from_ids(list(samples)) if options.groups == "folder" else samples
    group_of = dict(zip(samples, groups, strict=True))
    if already:
        return dict(samples), group_of
    held_out = _held_out(list(samples), group_of, options)
    if options.split == "train":
        _tell_split(samples, held_out, group_of, options)
    chosen = {name: sample for name, sample in samples.items() if (name in held_out) == (options.split == "test")}
    if not chosen:
        raise DataError(
            f"The {options.split} split of {options.root} is empty with test={options.test!r}; choose another share or "
            "patterns."
        )
    return chosen, group_of


def _held_out(ids: Sequence[str], group_of: Mapping[str, str], options: UserFilesOptions) -> set[str]:
    """Return the ids of the test split."""
    test = [options.test] if isinstance(options.test, str) else options.test
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
    asked = options.test if isinstance(options.test, int | float) else None
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
