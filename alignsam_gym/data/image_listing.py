"""Which files in a folder are images. Training, prediction and scoring list folders by it."""

from __future__ import annotations

import logging
import os
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from PIL import Image

from alignsam_gym.data.image_files import KINDS, SUFFIXES
from alignsam_gym.data.video_files import VIDEO_SUFFIXES
from alignsam_gym.errors import DataError

log = logging.getLogger(__name__)

_HIDDEN = (".", "@eaDir", "__MACOSX")
"""How names begin that systems and tools keep for themselves, such as ``._a.png`` and ``.ipynb_checkpoints``."""
_RAW = {".heic", ".heif", ".avif", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raw"}  # images that Pillow does not know


def list_images(folder: Path, pattern: str = "*", without: Collection[Path] = ()) -> dict[str, Path]:
    """List the images in a folder and its subfolders, linked ones too.

    What is hidden is left out. What else is left out is counted and named in one line of the log.

    Args:
        folder: The folder.
        pattern: Pattern (`fnmatch`) of the files' names.
        without: Folders below it to leave out.

    Returns:
        Each image file by its path below `folder`, with slashes and in Unicode's composed form (NFC), in the order of
        the paths.

    Raises:
        DataError: If there is no folder, or two paths differ in their Unicode form only.
    """
    images, left_out = _listed(folder, SUFFIXES, pattern, without)
    _tell(folder, left_out)
    return images


def list_files(folder: Path, suffix: str, without: Collection[Path] = ()) -> dict[str, Path]:
    """List the files of a suffix, in lower case, as `list_images` lists images. What is left out is not told."""
    return _listed(folder, (suffix,), without=without)[0]


def _listed(
    folder: Path, suffixes: Collection[str], pattern: str = "*", without: Collection[Path] = ()
) -> tuple[dict[str, Path], Counter[str]]:
    """Return the files of some suffixes, and how many of which others there are."""
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}.")
    left_out: Counter[str] = Counter()
    images: dict[str, Path] = {}
    skipped = {os.path.realpath(path) for path in without}
    for file in _walk(folder, frozenset({os.path.realpath(folder)}), skipped, left_out):
        if file.suffix.lower() not in suffixes:
            left_out[file.suffix.lower() or file.name] += 1
        elif fnmatchcase(file.name, pattern):
            path = unicodedata.normalize("NFC", file.relative_to(folder).as_posix())
            if path in images:
                raise DataError(f"{images[path]} and {file} have one name in two Unicode forms; keep one of them.")
            images[path] = file
    return images, left_out


def _walk(folder: Path, above: frozenset[str], skipped: Collection[str], left_out: Counter[str]) -> Iterator[Path]:
    """Yield the files below a folder. Links are followed, but not back to a folder that is being walked."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name.startswith(_HIDDEN):
            continue
        if entry.is_file():
            yield folder / entry.name
        elif not entry.is_dir():
            left_out[f"the broken link {entry.name}"] += 1
        elif (place := os.path.realpath(entry.path)) in above:
            left_out[f"the link {entry.name} to a folder above it"] += 1
        elif place not in skipped:
            yield from _walk(folder / entry.name, above | {place}, skipped, left_out)


def _tell(folder: Path, left_out: Counter[str]) -> None:
    if not left_out:
        return
    listed = ", ".join(
        name if name.startswith("the ") else f"{count} {name}" for name, count in left_out.most_common(6)
    )
    more = ", …" if len(left_out) > 6 else ""
    images = _RAW | Image.registered_extensions().keys() | set(VIDEO_SUFFIXES)
    may_matter = any(name in images or name.startswith("the ") for name in left_out)
    log.log(
        logging.WARNING if may_matter else logging.INFO,
        "%s: left out what is no %s file: %s%s",
        folder,
        KINDS,
        listed,
        more,
    )
