"""Lists the official checkpoints of SAM and its successors, and checks whether a file is one of them.

Nothing here uses the network. `alignsam_gym.foundation.sam.checkpoint_download` does, and no environment calls that.
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
    """A published file of weights.

    Attributes:
        name: What ``sam=`` calls it.
        url: Where it is downloaded from.
        sha256: The file's SHA-256, hexadecimal.
        size: The file's size in bytes, or None if its publisher does not say.
    """

    name: str
    url: str
    sha256: str
    size: int | None = None

    @property
    def file(self) -> str:
        """The file's name, without a folder."""
        return self.url.rpartition("/")[2]

    @property
    def path(self) -> Path:
        """Where the file belongs, whether it exists or not."""
        return weights_dir() / self.file

    @property
    def partial_path(self) -> Path:
        """Where an unfinished download is kept."""
        return self.path.with_name(self.file + ".partial")

    @property
    def by_hand(self) -> str:
        """What an error message tells users to do where no download gets through."""
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
"""Every official checkpoint, by its name."""


def weights_dir() -> Path:
    """Return the folder of checkpoints: ``$ALIGNSAM_WEIGHTS``, or ``weights`` in the cache directory."""
    chosen = os.environ.get("ALIGNSAM_WEIGHTS")
    return Path(chosen).expanduser() if chosen else default_cache_dir() / "weights"


def file_digest(path: Path) -> str:
    """Compute the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def explain_read_errors(path: Path) -> Iterator[None]:
    """Turn an error of reading a checkpoint, or the folder of checkpoints, into a message that says what to do.

    Raises:
        WeightsError: The body raised an OSError.
    """
    try:
        yield
    except OSError as error:
        raise WeightsError(
            f"{path} cannot be read: {error.strerror}. Change its permissions, or let $ALIGNSAM_WEIGHTS name another "
            "folder."
        ) from error


def verify_checkpoint(checkpoint: Checkpoint, digest_of: Callable[[Path], str] = file_digest) -> None:
    """Check that a checkpoint's file exists, can be read and has the published SHA-256.

    Args:
        checkpoint: One of `CHECKPOINTS`.
        digest_of: How to get a file's SHA-256. `remembered_digest` saves time, but misses a file that decayed on the
            disk.

    Raises:
        WeightsError: The file is missing, unreadable or not the published one. The message says what to do.
    """
    path, command = checkpoint.path, "alignsam weights"
    with explain_read_errors(path):
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


def remove_checkpoint(checkpoint: Checkpoint) -> None:
    """Delete a checkpoint's file and its unfinished download, if they exist.

    Raises:
        WeightsError: A file cannot be deleted.
    """
    try:
        for path in (checkpoint.path, checkpoint.partial_path):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise WeightsError(f"{error.filename} cannot be removed: {error.strerror}.") from error


def remembered_digest(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal, computed once for each path, size and time of change.

    To hash the largest checkpoint takes several seconds, and every environment asks for it. Digests are kept in the
    cache directory, a small file each. Where that cannot be written, they are computed each time.

    Raises:
        OSError: The file cannot be read.
    """
    stat = path.stat()
    version = f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}"
    kept = default_cache_dir() / "digests" / hashlib.sha256(os.fsencode(version)).hexdigest()
    with suppress(OSError):
        return kept.read_text()
    digest = file_digest(path)
    with suppress(OSError):
        write_atomically(kept, digest.encode())
    return digest
