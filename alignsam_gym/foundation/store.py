"""Image embeddings on disk, so that no image is encoded twice."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

import platformdirs
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

log = logging.getLogger(__name__)


def default_cache_dir() -> Path:
    """``$ALIGNSAM_CACHE``, or the user's cache directory."""
    return Path(os.environ.get("ALIGNSAM_CACHE") or platformdirs.user_cache_dir("alignsam-gym"))


class EmbeddingStore:
    """One float16 safetensors file for each embedding, named by its key, written atomically.

    The key must determine the content (image bytes, weights, preprocessing): records are never updated, so
    any number of readers and writers may share a directory. A directory that cannot be written is reported
    once, and nothing is kept.
    """

    def __init__(self, directory: str | Path | None = None) -> None:
        self.directory = Path(directory).expanduser() if directory else default_cache_dir()
        self._writable = True

    def get(self, key: str) -> Tensor | None:
        """The embedding, or None if there is none that can be read."""
        path = self._path(key)
        if not path.exists():
            return None
        try:
            return load_file(path)["embedding"]
        except (SafetensorError, KeyError, OSError) as error:
            log.warning("The cached embedding %s is damaged (%s) and is made anew.", path, error)
            return None

    def put(self, key: str, embedding: Tensor) -> None:
        """Keep `embedding` (any float dtype; stored as float16)."""
        if not self._writable:
            return
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, partial = tempfile.mkstemp(dir=path.parent, suffix=".partial")
            os.close(handle)
            try:
                save_file({"embedding": embedding.half().cpu().contiguous()}, partial)
                Path(partial).replace(path)
            except BaseException:
                Path(partial).unlink()
                raise
        except (OSError, SafetensorError) as error:
            self._writable = False
            log.warning("Embeddings cannot be kept in %s (%s); set cache_dir to a folder that can.", path.parent, error)

    def _path(self, key: str) -> Path:
        return self.directory / "embeddings" / key[:2] / f"{key}.safetensors"
