"""A user's own images and masks."""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Sequence
from pathlib import Path

from alignsam_gym.data.paired_files import PairedDataset, match_files, with_agreeing_sizes
from alignsam_gym.data.samples import groups_from_ids
from alignsam_gym.errors import DataError, OptionError, check_choice, check_count, check_number


class FolderDataset(PairedDataset):
    """Images and masks in two folders. An image and its mask have the same path below these, but for the suffix.

    Args:
        split: ``train`` or ``test``.
        root: The folder of the data set. If it holds ``train/`` and ``test/`` with images in each, these are the
            splits; otherwise `test` splits it.
        images: Name of the folder of images below `root`, or below each split's folder. It is searched recursively for
            PNG, JPEG and BMP files.
        masks: Name of the folder of masks, beside that of the images.
        threshold: A mask's pixel is foreground if its luminance (0 to 255) is above this.
        invert: Whether to swap foreground and background.
        test: Which images are held out as test split, if `root` is not split already: a share of them between 0 and 1,
            or one or more patterns (``"dog/*"``) of their paths below `images`, without suffix. Images in one folder
            stay on one side, as frames of one video must, so a share counts folders where there are several.
        seed: Seed of the share's draw.
        text: What the masks show, for branches that are guided by text.
        on_error: ``raise``, or ``skip`` to leave out, with a warning, pairs of files that are not whole.

    Raises:
        OptionError: If `root` is not given, or an option has a value that makes no sense.
        DataError: If a folder is missing or empty, an image has no mask, the sizes of an image and its mask differ, or
            the split is empty; and when a sample is loaded, as `PairedDataset` does.
    """

    def __init__(
        self,
        split: str,
        root: str | Path | None = None,
        images: str = "images",
        masks: str = "masks",
        threshold: int = 127,
        invert: bool = False,
        test: float | str | Sequence[str] = 0.2,
        seed: int = 0,
        text: str | None = None,
        on_error: str = "raise",
    ) -> None:
        check_choice("split", split, ("train", "test"))
        if root is None:
            raise OptionError("dataset='folder' needs root=<the folder that holds images/ and masks/>.")
        base, skip = Path(root).expanduser(), on_error == "skip"
        if not base.is_dir():
            raise DataError(f"There is no folder {base}: root must hold {images}/ and {masks}/, or train/ and test/.")
        is_split = all((base / part / images).is_dir() for part in ("train", "test"))
        parent = base / split if is_split else base
        pairs = match_files(parent / images, parent / masks, skip)
        if not is_split:
            held_out = _held_out(list(pairs), test, seed)
            pairs = {stem: pair for stem, pair in pairs.items() if (stem in held_out) == (split == "test")}
            if not pairs:
                raise DataError(
                    f"The {split} split of {base} is empty with test={test!r}; choose another share or patterns."
                )
        super().__init__("folder", with_agreeing_sizes(pairs, skip), threshold, invert, text)


def _held_out(stems: list[str], test: float | str | Sequence[str], seed: int) -> set[str]:
    """Return the stems of the test split."""
    if isinstance(test, str):
        test = [test]
    if isinstance(test, Sequence):
        return {stem for stem in stems if any(fnmatch.fnmatch(stem, pattern) for pattern in test)}
    check_number("test", test)
    check_count("seed", seed, "seeds are 0 and above", least=0)
    if not 0 < test < 1:
        raise OptionError(f"test={test} is not a share between 0 and 1.")
    group_of = dict(zip(stems, groups_from_ids(stems), strict=True))
    # The order of the groups' hashes does not depend on which other groups there are: a folder that grows keeps the
    # splits of what it had, but for groups at the margin.
    groups = sorted(set(group_of.values()), key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
    chosen = set(groups[: max(1, round(test * len(groups)))])
    return {stem for stem in stems if group_of[stem] in chosen}
