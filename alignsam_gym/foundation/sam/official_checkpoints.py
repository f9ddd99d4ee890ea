"""The official SAM checkpoints: which there are, where they lie, and whether a file is the right one.

Nothing here reaches for the network: that is `alignsam_gym.foundation.sam.checkpoint_download`, which no environment calls.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from alignsam_gym.atomic_write import write_atomically
from alignsam_gym.errors import WeightsError
from alignsam_gym.foundation.encoding.embedding_store import default_cache_dir

_META = "https://dl.fbaipublicfiles.com/segment_anything"
_HUB = "https://huggingface.co"


@dataclass(frozen=True)
class Checkpoint:
    """A published file of weights. sha256: hexadecimal. size: bytes, None if its publisher does not say."""

    name: str
    url: str
    sha256: str
    size: int | None = None

    @property
    def file(self) -> str:
        """Its name without a folder."""
        return self.url.rpartition("/")[2]

    @property
    def path(self) -> Path:
        """Where the file belongs, whether it is there or not."""
        return weights_dir() / self.file

    @property
    def by_hand(self) -> str:
        """What to do where no download gets through."""
        return f"fetch {self.url} by other means and put it at {self.path}"


CHECKPOINTS = {
    checkpoint.name: checkpoint
    for checkpoint in (
        Checkpoint(
            "vit_b",
            f"{_META}/sam_vit_b_01ec64.pth",
            "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
            375_042_383,
        ),
        Checkpoint(
            "vit_l",
            f"{_META}/sam_vit_l_0b3195.pth",
            "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        ),
        Checkpoint(
            "vit_h",
            f"{_META}/sam_vit_h_4b8939.pth",
            "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
            2_564_550_879,
        ),
        Checkpoint(
            "vit_t",
            "https://raw.githubusercontent.com/ChaoningZhang/MobileSAM/master/weights/mobile_sam.pt",
            "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
            40_728_226,
        ),
        Checkpoint(
            "sam_hq_vit_b",
            f"{_HUB}/lkeab/hq-sam/resolve/main/sam_hq_vit_b.pth",
            "14a9d662cd6f5a9c2dba6d40ab0058d88d287e4a18fd6fdc6ad5fb1a3fdeaa57",
            379_335_069,
        ),
        Checkpoint(
            "sam_hq_vit_l",
            f"{_HUB}/lkeab/hq-sam/resolve/main/sam_hq_vit_l.pth",
            "e1a6c385d62bf005ded91a54d5ec55c985cfc4103ef89c08d90f39f04934c343",
            1_254_865_805,
        ),
        Checkpoint(
            "sam_hq_vit_h",
            f"{_HUB}/lkeab/hq-sam/resolve/main/sam_hq_vit_h.pth",
            "a7ac14a085326d9fa6199c8c698c4f0e7280afdbb974d2c4660ec60877b45e35",
            2_570_940_653,
        ),
        Checkpoint(
            "sam2.1_hiera_tiny",
            f"{_HUB}/facebook/sam2.1-hiera-tiny/resolve/main/sam2.1_hiera_tiny.pt",
            "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69",
            156_008_466,
        ),
        Checkpoint(
            "sam2.1_hiera_small",
            f"{_HUB}/facebook/sam2.1-hiera-small/resolve/main/sam2.1_hiera_small.pt",
            "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38",
            184_416_285,
        ),
        Checkpoint(
            "sam2.1_hiera_base_plus",
            f"{_HUB}/facebook/sam2.1-hiera-base-plus/resolve/main/sam2.1_hiera_base_plus.pt",
            "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5",
            323_606_802,
        ),
        Checkpoint(
            "sam2.1_hiera_large",
            f"{_HUB}/facebook/sam2.1-hiera-large/resolve/main/sam2.1_hiera_large.pt",
            "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318",
            898_083_611,
        ),
    )
}


def weights_dir() -> Path:
    """``$ALIGNSAM_WEIGHTS``, or ``weights`` in the cache directory."""
    chosen = os.environ.get("ALIGNSAM_WEIGHTS")
    return Path(chosen).expanduser() if chosen else default_cache_dir() / "weights"


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raise WeightsError where the disk refuses `path`, a checkpoint or their folder."""
    try:
        yield
    except OSError as error:
        raise WeightsError(
            f"{path} cannot be read: {error.strerror}. Change its permissions, or let $ALIGNSAM_WEIGHTS name another "
            "folder."
        ) from error


def verify(checkpoint: Checkpoint, digest_of: Callable[[Path], str] = file_digest) -> None:
    """Raise WeightsError, which says what to do, unless the file is there, readable and of the published SHA-256.

    digest_of: `remembered_digest` saves time, and does not see what decayed on the disk.
    """
    path, command = checkpoint.path, "python -m experiments.weights"
    with reading(path):
        digest = digest_of(path) if path.is_file() else None
    if digest is None:
        raise WeightsError(
            f"{checkpoint.file}, the checkpoint of sam={checkpoint.name}, is not at {path}. Download it: "
            f"{command} action=download names={checkpoint.name}; or {checkpoint.by_hand}."
        )
    if digest != checkpoint.sha256:
        raise WeightsError(
            f"{path} is not the official checkpoint: its SHA-256 is {digest}, not {checkpoint.sha256}. If it is a "
            f"model of your own, keep it elsewhere and give its path, sam=<path>; then {command} action=remove "
            f"names={checkpoint.name}, and download again."
        )


def remove(checkpoint: Checkpoint) -> None:
    """Delete the file and what there may be of an unfinished download. Raises WeightsError if that cannot be."""
    try:
        for path in (checkpoint.path, partial_path(checkpoint)):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise WeightsError(f"{error.filename} cannot be removed: {error.strerror}.") from error


def partial_path(checkpoint: Checkpoint) -> Path:
    """Where a download grows."""
    return checkpoint.path.with_name(checkpoint.file + ".partial")


def remembered_digest(path: Path) -> str:
    """SHA-256 of a file, computed once for each path, size and time of change.

    The largest checkpoint takes several seconds to hash, and each environment asks. Digests are kept in the
    cache directory, a small file each, and simply computed again where that cannot be written.
    """
    stat = path.stat()
    what = f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}"
    record = default_cache_dir() / "digests" / hashlib.sha256(os.fsencode(what)).hexdigest()
    with suppress(OSError):
        return record.read_text()
    digest = file_digest(path)
    with suppress(OSError):
        write_atomically(record, digest.encode())
    return digest
