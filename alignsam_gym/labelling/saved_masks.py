"""Masks on disk that several windows, and several programs, may change."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from filelock import FileLock
from PIL import Image

from alignsam_gym.data.image_files import read_header
from alignsam_gym.data.image_listing import list_images
from alignsam_gym.data.mask_files import write_file
from alignsam_gym.data.mask_rule import MaskRule
from alignsam_gym.data.paired_files import mask_orientation
from alignsam_gym.data.stored_mask import resize_nearest
from alignsam_gym.errors import DataError
from alignsam_gym.labelling.photo_folder import PhotoFolder

_ORIENTATION, _UPRIGHT = 0x0112, 1
_REMEMBERED = 10_000  # masks, of which it is known whether they have foreground


class MaskChangedError(DataError):
    """A mask on disk is not the one that was loaded: another window or program has changed it."""


class SavedMasks:
    """The masks of a folder of photographs, PNG files of 0 and 255 in the photographs' own sizes.

    A file is written whole or not at all, and only if it still is what the writer has seen last.

    Args:
        folder: The photographs and the place of their masks.
    """

    def __init__(self, folder: PhotoFolder) -> None:
        self._folder = folder
        self._lock = folder.state / "masks.lock"

    def stems(self) -> set[str]:
        """Return the photographs that have a mask."""
        return set(self.files())

    def files(self) -> dict[str, Path]:
        """Return each photograph's mask, in whatever format."""
        if not self._folder.masks.is_dir():
            return {}
        found = {Path(path).with_suffix("").as_posix(): file for path, file in list_images(self._folder.masks).items()}
        return {stem: file for stem, file in found.items() if stem in self._folder.photographs}

    def learnable(self) -> Iterator[str]:
        """Yield the photographs whose mask can be read and has foreground, in their order."""
        files = self.files()
        for stem, photograph in self._folder.photographs.items():
            if stem in files and _has_foreground(photograph, files[stem], _state(files[stem])):
                yield stem

    def content(self, stem: str) -> bytes | None:
        """Return what the mask's file holds; None if there is no file.

        Raises:
            DataError: The photograph has a mask that is no PNG, or the file cannot be read.
        """
        return _content(self._file(stem))

    def read(self, stem: str, size: tuple[int, int]) -> np.ndarray | None:
        """Read a mask as `dataset=folder` does, bool (H, W) of that size; None if there is none.

        Raises:
            DataError: It cannot be read, is of another size, or does not say what is foreground.
        """
        file = self._file(stem)
        if _content(file) is None:
            return None
        return resize_nearest(read_mask(file, self._folder.photographs[stem]), size)

    def write(self, stem: str, mask: np.ndarray, seen: bytes | None) -> bytes:
        """Write a mask, if its file is as it was seen.

        Args:
            stem: The photograph.
            mask: bool (H, W).
            seen: The file's content when it was read or written last; None if there was no file.

        Returns:
            The file's content now.

        Raises:
            MaskChangedError: The file has changed since.
            DataError: It cannot be written.
        """
        content = encode_mask(mask, self._folder.photographs[stem])
        self.put(stem, content, seen)
        return content

    def put(self, stem: str, content: bytes | None, seen: bytes | None) -> None:
        """Make the file hold this content, or remove it for None, if it is as it was seen; see `write`."""
        try:
            self._lock.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self._lock):
                file = self._file(stem)
                if _content(file) != seen:
                    raise MaskChangedError(f"The mask of {stem} has been changed elsewhere since it was loaded here.")
                if content is None:
                    file.unlink(missing_ok=True)
                elif content != seen:
                    write_file(file, content)
        except OSError as error:
            raise DataError(f"The mask of {stem} cannot be saved ({error}); make its folder writable.") from error

    def _file(self, stem: str) -> Path:
        """Return where the mask is, perhaps by a name in another Unicode form than `stem`, or where it is to be.

        Raises:
            DataError: The photograph has a mask that is no PNG.
        """
        file = self.files().get(stem, self._folder.masks / f"{stem}.png")
        if file.suffix.lower() != ".png":
            raise DataError(f"{file} is in the place of a mask, but no PNG file; convert it, or move it away.")
        return file


def _content(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}).") from error


def read_mask(file: Path, photograph: Path) -> np.ndarray:
    """Read a photograph's mask as `dataset=folder` does, bool (H, W), above 100 megapixels at a reduced size.

    Raises:
        DataError: It cannot be read, is of another size, or does not say what is foreground.
    """
    return MaskRule().read(file, mask_orientation(photograph, file))


def at_own_size(mask: np.ndarray, photograph: Path) -> np.ndarray:
    """Bring the mask, bool (H, W), of a photograph that was read at a reduced size to the size of its file."""
    width, height = read_header(photograph).size
    return resize_nearest(mask, (height, width))


def encode_mask(mask: np.ndarray, photograph: Path) -> bytes:
    """Encode a mask as a PNG file that `dataset=folder` reads as it is here.

    A photograph that EXIF turns would turn a mask that says nothing of its own orientation: this one says upright.

    Args:
        mask: bool (H, W), upright. It is brought to the photograph's size, which is larger where that was reduced.
        photograph: Its file.

    Returns:
        The file's content: 0 and 255, 8 bits.
    """
    picture = Image.fromarray(at_own_size(mask, photograph))
    exif = Image.Exif()
    if read_header(photograph).orientation not in (None, _UPRIGHT):
        exif[_ORIENTATION] = _UPRIGHT
    file = io.BytesIO()
    picture.convert("L").save(file, "PNG", exif=exif, compress_level=4)
    return file.getvalue()


@lru_cache(_REMEMBERED)
def _has_foreground(photograph: Path, file: Path, state: tuple[int, int] | None) -> bool:
    """Return whether a mask in that state can be read and is not empty."""
    try:
        return state is not None and bool(read_mask(file, photograph).any())
    except DataError:
        return False


def _state(file: Path) -> tuple[int, int] | None:
    """Return what differs when a file has changed: its time in nanoseconds, and its size; None if it is gone."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
