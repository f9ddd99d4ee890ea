import errno
from pathlib import Path

import pytest

from alignsam_gym.atomic_write import write_atomically


def test_a_full_disk_is_told_by_the_files_name_and_leaves_what_was_there(tmp_path, monkeypatch):
    file = tmp_path / "deep/config.yaml"
    write_atomically(file, b"old")

    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"No space left on device: .*config\.yaml") as told:
        write_atomically(file, b"new")
    assert told.value.filename == str(file)
    assert file.read_bytes() == b"old"
    assert list(file.parent.iterdir()) == [file]
