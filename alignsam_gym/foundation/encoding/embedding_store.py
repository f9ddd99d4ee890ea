"""Keeps image embeddings on disk, so that no image is encoded twice."""

from __future__ import annotations

import logging
import os
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import Protocol

import platformdirs
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from alignsam_gym.atomic_write import write_atomically
from alignsam_gym.errors import OptionError

_NAME = "embedding"
_RECENT = 32  # encodings that a `RecentStore` keeps, of 2 to 8 MiB each
log = logging.getLogger(__name__)


def default_cache_dir() -> Path:
    """Return the folder of everything that is kept: ``$ALIGNSAM_CACHE``, or ``alignsam-gym`` in the user's cache."""
    return Path(os.environ.get("ALIGNSAM_CACHE") or platformdirs.user_cache_dir("alignsam-gym")).expanduser()


class Store(Protocol):
    """A place that keeps encodings. A key determines its encoding."""

    def get(self, key: str) -> Tensor | None:
        """Return the encoding of this key, float16 on the CPU, or None if it is not kept."""

    def put(self, key: str, encoding: Tensor) -> None:
        """Keep an encoding of any float dtype and shape as float16."""


class RecentStore:
    """Keeps the latest encodings in memory, for images that seldom come again."""

    def __init__(self) -> None:
        self._encodings: OrderedDict[str, Tensor] = OrderedDict()

    def get(self, key: str) -> Tensor | None:
        """Return the encoding of this key, float16 on the CPU, or None if it is not kept."""
        return self._encodings.get(key)

    def put(self, key: str, encoding: Tensor) -> None:
        """Keep an encoding of any float dtype and shape as float16, and forget the oldest if they are too many."""
        self._encodings[key] = encoding.half().cpu()
        while len(self._encodings) > _RECENT:
            self._encodings.popitem(last=False)


class EmbeddingStore:
    """Keeps each encoding in a float16 safetensors file of its own, with a checksum, written atomically.

    The key must determine the content (image bytes, weights, preprocessing). Encodings are never updated, so any number
    of readers and writers may share a directory, on several machines too. Half precision changes a value by at most
    2⁻¹¹ of itself. The first failure to write gives a warning, and nothing is written from then on.

    A file for each encoding reads as fast as LMDB at 2 MiB an encoding (both several hundred a second, most of it
    copying), needs no size fixed in advance, and may lie on a network drive.

    Args:
        directory: Where to keep the files, below ``embeddings/``; `default_cache_dir` if None.

    Attributes:
        directory: The folder in use.
        writable: Whether nothing has failed to be written yet.
    """

    def __init__(self, directory: str | Path | None = None) -> None:
        self.directory = Path(directory).expanduser() if directory else default_cache_dir()
        self.writable = True
        self._damage_reported = False

    def get(self, key: str) -> Tensor | None:
        """Return the encoding of this key, or None if no undamaged file was written under it.

        A damaged file is reported: the first one as a warning, later ones at level DEBUG.

        Returns:
            float16, on the CPU.
        """
        path = self._path(key)
        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                encoding: Tensor = file.get_tensor(_NAME)
        except FileNotFoundError:  # safetensors raises this for whatever keeps a file from being opened
            return None
        except (SafetensorError, OSError) as error:
            self._report(path, str(error))
            return None
        if metadata != _signature(key, encoding):
            self._report(path, "its checksum or key differs")
            return None
        return encoding

    def put(self, key: str, encoding: Tensor) -> None:
        """Write an encoding of any float dtype and shape as float16. A failure gives a warning, and is the last try."""
        if not self.writable:
            return
        path = self._path(key)
        half = encoding.half().cpu().contiguous()
        try:
            write_atomically(path, save({_NAME: half}, metadata=_signature(key, half)))
        except OSError as error:
            self.writable = False
            log.warning(
                "Embeddings cannot be kept in %s (%s): nothing is kept there, and every command encodes every image "
                "anew; set cache_dir to a folder that can.",
                path.parent,
                error,
            )

    def check(self) -> None:
        """Raise `OptionError` if the folder is a file, which no permission will make a folder."""
        if self.directory.is_file():
            raise OptionError(f"cache_dir={self.directory} is a file; name a folder.")

    def _report(self, path: Path, problem: str) -> None:
        level = logging.DEBUG if self._damage_reported else logging.WARNING
        more = "others may follow, at level DEBUG"
        log.log(level, "The cached embedding %s is damaged (%s) and is made anew; %s.", path, problem, more)
        self._damage_reported = True

    def _path(self, key: str) -> Path:
        return self.directory / "embeddings" / key[:2] / f"{key}.safetensors"


def _signature(key: str, encoding: Tensor) -> dict[str, str]:
    return {"key": key, "crc32": f"{zlib.crc32(encoding.numpy().data):08x}"}
