"""A user's own images and masks."""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Sequence
from pathlib import Path

from alignsam_gym.data.paired_files import PairedDataset, match_files, with_agreeing_sizes
from alignsam_gym.data.samples import groups_of
from alignsam_gym.errors import DataError, OptionError, check_choice, check_count, check_number


class FolderDataset(PairedDataset):
    """Pairs of files whose paths, without suffix, agree below the image and the mask folder.

    root: the folder. With ``<root>/train`` and ``<root>/test`` in it, those are the splits; otherwise
        `root` is split here (see `test`).
    split: ``train`` or ``test``.
    images, masks: the two folders below each root, searched recursively for PNG, JPEG and BMP files.
    threshold, invert: which luminance of a mask is foreground; see `PairedDataset`.
    test: the share of images held out, or patterns (``"dog/*"``) of those that are. Images that share a
        folder below `images` stay on one side, as frames of one video must; a share then counts folders.
    seed: of the held-out share's draw.
    text: what the masks show, for branches that are guided by text.
    on_error: ``raise``, or ``skip`` to leave out pairs that are not whole.

    Raises DataError for a missing or empty folder, an image without its mask, and sizes that differ; and,
    when the sample is loaded, as `PairedDataset` does.
    """

    def __init__(
        self,
        split: str,
        root: str | Path | None = None,
        images: str = "images",
        masks: str = "masks",
        threshold: int = 127,
        invert: bool = False,
        test: float | Sequence[str] = 0.2,
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
        presplit = (base / "train" / images).is_dir() and (base / "test" / images).is_dir()
        where = base / split if presplit else base
        pairs = match_files(where / images, where / masks, skip)
        if not presplit:
            held_out = _held_out(list(pairs), test, seed)
            pairs = {stem: pair for stem, pair in pairs.items() if (stem in held_out) == (split == "test")}
            if not pairs:
                raise DataError(
                    f"The {split} split of {base} is empty with test={test!r}; choose another share or patterns."
                )
        super().__init__("folder", with_agreeing_sizes(pairs, skip), threshold, invert, text)


def _held_out(stems: list[str], test: float | Sequence[str], seed: int) -> set[str]:
    if isinstance(test, str):
        test = [test]
    if isinstance(test, Sequence):
        return {stem for stem in stems if any(fnmatch.fnmatch(stem, pattern) for pattern in test)}
    check_number("test", test)
    check_count("seed", seed, "seeds are 0 and above", least=0)
    if not 0 < test < 1:
        raise OptionError(f"test={test} is not a share between 0 and 1.")
    group = dict(zip(stems, groups_of(stems), strict=True))
    # By hashes, which do not depend on what else is there: a folder that grows keeps the splits of what it had, but for
    # groups at the margin.
    groups = sorted(set(group.values()), key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
    chosen = {*groups[: max(1, round(test * len(groups)))]}
    return {stem for stem in stems if group[stem] in chosen}
