"""Image embeddings on disk, so that no image is encoded twice."""

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

_NAME = "embedding"
log = logging.getLogger(__name__)


def default_cache_dir() -> Path:
    """``$ALIGNSAM_CACHE``, or the user's cache directory."""
    return Path(os.environ.get("ALIGNSAM_CACHE") or platformdirs.user_cache_dir("alignsam-gym")).expanduser()


class Store(Protocol):
    """Where encodings are kept under keys that determine them."""

    def get(self, key: str) -> Tensor | None: ...

    def put(self, key: str, encoding: Tensor) -> None: ...


class RecentStore:
    """The `capacity` encodings put last, float16, in memory: for images that seldom come again."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._encodings: OrderedDict[str, Tensor] = OrderedDict()

    def get(self, key: str) -> Tensor | None:
        return self._encodings.get(key)

    def put(self, key: str, encoding: Tensor) -> None:
        self._encodings[key] = encoding.half().cpu()
        while len(self._encodings) > self.capacity:
            self._encodings.popitem(last=False)


class EmbeddingStore:
    """One float16 safetensors file for each encoding, named by its key, with a checksum, written atomically.

    The key must determine the content (image bytes, weights, preprocessing): encodings are never updated, so any
    number of readers and writers may share a directory, on several machines too. Half precision changes a value
    by at most 2⁻¹¹ of itself. A directory that cannot be written is reported once, `writable` is False from then on,
    and nothing is kept.

    One file each, because it reads as fast as LMDB at 2 MiB a encoding (both several hundred a second, most of it
    copying), needs no size fixed in advance, and may lie on a network drive.
    """

    def __init__(self, directory: str | Path | None = None) -> None:
        self.directory = Path(directory).expanduser() if directory else default_cache_dir()
        self.writable = True
        self._damage_reported = False

    def get(self, key: str) -> Tensor | None:
        """The encoding, float16, or None if there is none that is whole and was written under this key."""
        path = self._path(key)
        try:
            with safe_open(path, "pt") as file:
                metadata, encoding = file.metadata() or {}, file.get_tensor(_NAME)
        except FileNotFoundError:  # whatever keeps it from being opened
            return None
        except (SafetensorError, OSError) as error:
            self._report(path, str(error))
            return None
        if metadata != _signature(key, encoding):
            self._report(path, "its checksum or key differs")
            return None
        return encoding

    def _report(self, path: Path, problem: str) -> None:
        level = logging.DEBUG if self._damage_reported else logging.WARNING
        more = "others may follow, at level DEBUG"
        log.log(level, "The cached embedding %s is damaged (%s) and is made anew; %s.", path, problem, more)
        self._damage_reported = True

    def put(self, key: str, encoding: Tensor) -> None:
        """Keep `encoding` (any float dtype and shape; stored as float16)."""
        if not self.writable:
            return
        path, half = self._path(key), encoding.half().cpu().contiguous()
        try:
            write_atomically(path, save({_NAME: half}, metadata=_signature(key, half)))
        except OSError as error:
            self.writable = False
            log.warning("Embeddings cannot be kept in %s (%s); set cache_dir to a folder that can.", path.parent, error)

    def _path(self, key: str) -> Path:
        return self.directory / "embeddings" / key[:2] / f"{key}.safetensors"


def _signature(key: str, encoding: Tensor) -> dict[str, str]:
    return {"key": key, "crc32": f"{zlib.crc32(encoding.numpy().data):08x}"}
