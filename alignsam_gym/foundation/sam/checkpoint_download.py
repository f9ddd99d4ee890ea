"""Downloads official checkpoints, safe against broken connections, full disks and other processes."""

from __future__ import annotations

from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from filelock import FileLock
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from alignsam_gym.errors import WeightsError
from alignsam_gym.foundation.sam.official_checkpoints import Checkpoint, file_digest, verify_checkpoint

_CHUNK = 1 << 20
_TIMEOUT = 30  # seconds without a byte
_NOTHING_MISSING = 416  # the HTTP status for a range that starts at the file's end


def download_checkpoint(checkpoint: Checkpoint) -> Path:
    """Download a checkpoint, unless it exists already, and return its path.

    The bytes go to a ``.partial`` file, which a later call continues. The file gets its name once its SHA-256 is right.
    Of several processes one downloads, and the others wait for it.

    Args:
        checkpoint: One of `CHECKPOINTS`.

    Raises:
        WeightsError: There is no connection, the server answers with an error, or the disk is full; the partial file
            stays then. Or what came has a wrong SHA-256, and is removed. Or another file has the checkpoint's name.
    """
    path = checkpoint.path
    try:
        if path.exists():
            verify_checkpoint(checkpoint)
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(path.name + ".lock")):
            if not path.exists():  # another process may just have finished
                _complete(checkpoint)
    except OSError as error:
        raise WeightsError(
            f"{path} cannot be written: {error.strerror or error}. Make room, or let $ALIGNSAM_WEIGHTS name another "
            "folder; downloading again goes on from here."
        ) from error
    return path


def _complete(checkpoint: Checkpoint) -> None:
    """Fetch into the partial file, check it and give it its name."""
    partial = checkpoint.partial_path
    _fetch(checkpoint, partial)
    digest = file_digest(partial)
    if digest != checkpoint.sha256:
        partial.unlink()
        raise WeightsError(
            f"What {checkpoint.url} sent is not the checkpoint, and was removed: its SHA-256 is {digest}, not "
            f"{checkpoint.sha256}. Try again; if that does not help, {checkpoint.by_hand}."
        )
    partial.replace(checkpoint.path)


def _fetch(checkpoint: Checkpoint, partial: Path) -> None:
    """Complete `partial`. Connect again after a broken connection, as long as each connection adds something."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn()) as progress:
        task = progress.add_task(checkpoint.file, total=checkpoint.size)
        while True:
            before = _size(partial)
            trouble = _receive(checkpoint, partial, lambda size: progress.update(task, completed=size))
            if trouble is None:
                return
            if _size(partial) <= before:
                raise WeightsError(
                    f"{checkpoint.url} cannot be fetched: {trouble}. {_size(partial):,} bytes of it are here, and "
                    f"downloading again goes on from there. Without a network, {checkpoint.by_hand}."
                )


def _receive(checkpoint: Checkpoint, partial: Path, received: Callable[[int], None]) -> str | None:
    """Append what one connection sends to `partial`. Return None if that completes it, else what went wrong."""
    request = Request(checkpoint.url, headers={"Range": f"bytes={_size(partial)}-"})
    try:
        response = urlopen(request, timeout=_TIMEOUT)
    except HTTPError as error:
        if error.code == _NOTHING_MISSING:
            return None
        raise WeightsError(
            f"{checkpoint.url} cannot be fetched: the server answers {error.code} {error.reason}. Try again later, "
            f"or {checkpoint.by_hand}."
        ) from error
    except (OSError, HTTPException) as error:
        return _reason(error)
    # A server that does not support ranges answers 200 and starts from the beginning.
    with response, partial.open("ab" if response.status == 206 else "wb") as file:
        while True:
            try:
                chunk = response.read(_CHUNK)
            except (OSError, HTTPException) as error:
                return _reason(error)
            if not chunk:
                return "the connection was closed too early" if response.length else None
            file.write(chunk)
            received(file.tell())


def _reason(error: Exception) -> str:
    return str(error.reason if isinstance(error, URLError) else error) or type(error).__name__


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
