"""A user's own images and masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from alignsam_gym.data.file_problems import FileProblems
from alignsam_gym.data.mask_rule import Colour, MaskRule
from alignsam_gym.data.paired_files import PairedDataset, match_files, with_agreeing_sizes
from alignsam_gym.data.user_files import UserFilesOptions, choose_split
from alignsam_gym.options import documented_by, option, takes_options_of


@dataclass(frozen=True)
class FolderOptions(UserFilesOptions):
    """Options of `FolderDataset`.

    Raises:
        OptionError: A value makes no sense.
    """

    title: ClassVar[str] = "dataset='folder'"

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
    void: Sequence[Colour] | None = option(
        "Palette indices, grey levels or colours, as of `foreground`, of pixels that have no label: `[255]`. They are "
        "background for the reward, and losses and metrics leave them out.",
        None,
    )
    empty: bool = option(
        "Whether images whose masks have no foreground are samples, too. Otherwise such a mask is an error.", False
    )

    @property
    def content(self) -> str:
        """What `root` holds, for messages."""
        return f"{self.images}/ and {self.masks}/"


@documented_by(FolderOptions)
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
        rule = MaskRule(options.threshold, options.invert, options.foreground, options.void)
        parent, is_split = options.locate_part(options.images)
        problems = FileProblems(options.skips)
        pairs = match_files(parent / options.images, parent / options.masks, problems, mask_name=options.mask_name)
        chosen, group_of = ({}, {}) if problems.found else choose_split(pairs, options, is_split)
        whole = with_agreeing_sizes(chosen, problems)
        if problems.found:  # all of them are told, those of the other split, too
            with_agreeing_sizes({stem: pair for stem, pair in pairs.items() if stem not in chosen}, problems)
            problems.check()
        super().__init__("folder", whole, rule, options.text, options.intensity_range, options.empty)
        self.groups = [group_of[stem] for stem in whole]
