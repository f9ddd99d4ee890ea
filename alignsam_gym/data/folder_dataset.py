"""A user's own images and masks."""

from __future__ import annotations

import fnmatch
import hashlib
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

from alignsam_gym.data.image_files import IntensityRange, check_intensity_range
from alignsam_gym.data.mask_rule import Colour, MaskRule
from alignsam_gym.data.paired_files import Pair, PairedDataset, match_files, with_agreeing_sizes
from alignsam_gym.data.samples import groups_from_ids
from alignsam_gym.errors import DataError, OptionError, check_number
from alignsam_gym.options import Options, option, takes_options_of

log = logging.getLogger(__name__)

_FEW_GROUPS = 5
_FAR = 0.1  # from the share that was asked for


@dataclass(frozen=True)
class FolderOptions(Options):
    """Options of `FolderDataset`.

    Raises:
        OptionError: A value makes no sense.
    """

    title: ClassVar[str] = "dataset='folder'"

    split: Literal["train", "test"] = option("`train` or `test`.", required=True)
    root: str | Path | None = option(
        "The folder of the data set. If it holds `train/` and `test/` with images in each, these are the splits; "
        "otherwise `test` splits it.",
        None,
    )
    images: str = option(
        "Name of the folder of images below `root`, or below each split's folder. It is searched with its subfolders.",
        "images",
    )
    masks: str = option("Name of the folder of masks, beside that of the images.", "masks")
    mask_name: str = option(
        "How a mask is called without its suffix: `{stem}` is its image's name without suffix, `{name}` the name with "
        "it. `{stem}_mask` finds `a_mask.png` for `a.jpg`.",
        "{stem}",
    )
    threshold: float | None = option(
        "A mask's pixel is foreground if its luminance (0 to 255, or the level of a grey file as it is stored) is "
        "above this. None goes by the mask's colours, of which there must be two.",
        None,
    )
    foreground: str | Sequence[Colour] | None = option(
        "Palette indices, grey levels or colours that are foreground, all others being background: `[1, 2]`, "
        "`['#ff0000']`, `[[255, 0, 0]]`; `nonzero`, for all but index 0, level 0 or black; or `alpha`, for what is "
        "opaque.",
        None,
    )
    invert: bool = option("Whether to swap foreground and background.", False)
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
        "`raise`, or `skip` to leave out, with a warning, pairs of files that are not whole.", "raise"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_intensity_range(self.intensity_range)


class FolderDataset(PairedDataset):
    """Images and masks in two folders. An image and its mask have the same path below these, but for the suffix.

    The keywords are the fields of `FolderOptions`.

    Attributes:
        groups: The group of each sample, of which none is in both splits.

    Raises:
        OptionError: If `root` is not given, or an option has a value that makes no sense.
        DataError: If a folder is missing or empty, an image has no mask, the sizes of an image and its mask differ, or
            the split is empty; and when a sample is loaded, as `PairedDataset` does.
    """

    @takes_options_of(FolderOptions)
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        options = FolderOptions(*args, **kwargs)
        rule = MaskRule(options.threshold, options.invert, options.foreground)
        if options.root is None:
            raise OptionError("dataset='folder' needs root=<the folder that holds images/ and masks/>.")
        base, skip = Path(options.root).expanduser(), options.on_error == "skip"
        if not base.is_dir():
            raise DataError(
                f"There is no folder {base}: root must hold {options.images}/ and {options.masks}/, or train/ and "
                "test/."
            )
        is_split = all((base / part / options.images).is_dir() for part in ("train", "test"))
        parent = base / options.split if is_split else base
        pairs = match_files(parent / options.images, parent / options.masks, skip, mask_name=options.mask_name)
        group_of = dict(zip(pairs, groups_from_ids(list(pairs)) if options.groups == "folder" else pairs, strict=True))
        if not is_split:
            pairs = _split(pairs, group_of, options)
            if not pairs:
                raise DataError(
                    f"The {options.split} split of {base} is empty with test={options.test!r}; choose another share or "
                    "patterns."
                )
        pairs = with_agreeing_sizes(pairs, skip)
        super().__init__("folder", pairs, rule, options.text, options.intensity_range)
        self.groups = [group_of[stem] for stem in pairs]


def _split(pairs: Mapping[str, Pair], group_of: Mapping[str, str], options: FolderOptions) -> dict[str, Pair]:
    """Return the pairs of the split, and tell what landed where."""
    held_out = _held_out(list(pairs), group_of, options)
    if options.split == "train":
        _tell_split(pairs, held_out, group_of, options)
    return {stem: pair for stem, pair in pairs.items() if (stem in held_out) == (options.split == "test")}


def _held_out(stems: Sequence[str], group_of: Mapping[str, str], options: FolderOptions) -> set[str]:
    """Return the stems of the test split."""
    test = [options.test] if isinstance(options.test, str) else options.test
    if isinstance(test, Sequence):
        return {stem for stem in stems if any(fnmatch.fnmatch(stem, pattern) for pattern in test)}
    check_number("test", test)
    if not 0 < test < 1:
        raise OptionError(f"test={test} is not a share between 0 and 1.")
    # The order of the groups' hashes does not depend on which other groups there are: a folder that grows keeps the
    # splits of what it had, but for groups at the margin.
    groups = sorted(set(group_of.values()), key=lambda name: hashlib.sha256(f"{options.seed}/{name}".encode()).digest())
    chosen = set(groups[: max(1, round(test * len(groups)))])
    return {stem for stem in stems if group_of[stem] in chosen}


def _tell_split(
    pairs: Mapping[str, Pair], held_out: set[str], group_of: Mapping[str, str], options: FolderOptions
) -> None:
    """Say how many images and folders are learned from and held out; warn if folders make that other than was asked."""
    count = len(set(group_of.values()))
    by_folder = count < len(pairs)

    def described(stems: Collection[str]) -> str:
        return f"{len(stems)} images" + (f" of {len({group_of[stem] for stem in stems})} folders" if by_folder else "")

    summary = f"{options.root}: {described(pairs.keys() - held_out)} to train on, {described(held_out)} to test on"
    share = len(held_out) / len(pairs)
    asked = options.test if isinstance(options.test, int | float) else None
    if by_folder and asked is not None and (count < _FEW_GROUPS or abs(share - asked) > _FAR):
        folders = sorted({group_of[stem] for stem in held_out})
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


if FolderDataset.__doc__:  # python -OO leaves docstrings out
    _lines = [f"{each.name}: {each.metadata['doc']}" for each in fields(FolderOptions)]
    FolderDataset.__doc__ += "\n        ".join(["\n    Args:", *_lines])
