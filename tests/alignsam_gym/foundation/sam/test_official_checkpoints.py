import hashlib
import os
import socket

import pytest
import torch

from alignsam_gym.errors import WeightsError
from alignsam_gym.foundation.sam import official_checkpoints
from alignsam_gym.foundation.sam.official_checkpoints import (
    CHECKPOINTS,
    Checkpoint,
    remembered_digest,
    remove_checkpoint,
    verify_checkpoint,
    weights_dir,
)
from alignsam_gym.foundation.sam.predictor import load_sam
from alignsam_gym.foundation.tiny import WEIGHTS


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ALIGNSAM_WEIGHTS", str(tmp_path))
    return tmp_path


@pytest.fixture
def checkpoint(folder):
    """A published file of seven bytes, which lies where it belongs."""
    checkpoint = Checkpoint("vit_x", "http://localhost:9/x.pth", hashlib.sha256(b"weights").hexdigest(), 7)
    checkpoint.path.write_bytes(b"weights")
    return checkpoint


@pytest.fixture
def hashed(tmp_path, monkeypatch):
    """Files that were really hashed; digests are remembered in a folder of this test."""
    paths, real = [], official_checkpoints.file_digest
    monkeypatch.setenv("ALIGNSAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(official_checkpoints, "file_digest", lambda path: paths.append(path) or real(path))
    return paths


def test_the_folder_is_the_users_choice_or_the_caches(tmp_path, monkeypatch):
    monkeypatch.delenv("ALIGNSAM_WEIGHTS", raising=False)
    monkeypatch.setenv("ALIGNSAM_CACHE", str(tmp_path))
    assert weights_dir() == tmp_path / "weights"
    monkeypatch.setenv("ALIGNSAM_WEIGHTS", "~/sam")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert weights_dir() == tmp_path / "sam"


def test_the_registry_is_well_formed():
    vits, hieras = ("vit_b", "vit_l", "vit_h"), ("tiny", "small", "base_plus", "large")
    names = [*vits, "vit_t", *(f"sam_hq_{vit}" for vit in vits), *(f"sam2.1_hiera_{size}" for size in hieras)]
    assert list(CHECKPOINTS) == names
    for name, checkpoint in CHECKPOINTS.items():
        assert checkpoint.name == name
        assert checkpoint.url.startswith("https://")
        assert len(bytes.fromhex(checkpoint.sha256)) == 32
    assert CHECKPOINTS["vit_b"].file == "sam_vit_b_01ec64.pth"


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_missing_checkpoint_is_never_fetched_but_explained(folder, monkeypatch, name):
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("an environment went to the network"))
    with pytest.raises(WeightsError) as caught:
        load_sam(name, "cpu")
    message, checkpoint = str(caught.value), CHECKPOINTS[name]
    assert f"sam={name}" in message
    assert checkpoint.url in message
    assert str(folder / checkpoint.file) in message
    assert f"alignsam weights action=download names={name}" in message


def test_an_official_name_takes_the_official_file_alone(folder, monkeypatch):
    content = WEIGHTS.read_bytes()
    (folder / "mine.safetensors").write_bytes(content)
    mine = Checkpoint("vit_b", "http://localhost:9/mine.safetensors", hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(CHECKPOINTS, "vit_b", mine)
    model, tiny = load_sam("vit_b", "cpu"), load_sam("tiny", "cpu")
    assert model.fingerprint == tiny.fingerprint
    assert all(map(torch.equal, model.sam.state_dict().values(), tiny.sam.state_dict().values()))
    (folder / "mine.safetensors").write_bytes(content[:-1])
    with pytest.raises(WeightsError, match=r"not the official checkpoint: its SHA-256 is .*action=remove names=vit_b"):
        load_sam("vit_b", "cpu")


def test_verify_looks_at_every_byte(checkpoint):
    verify_checkpoint(checkpoint)
    checkpoint.path.write_bytes(b"weightz")
    with pytest.raises(WeightsError, match=r"x\.pth is not the official checkpoint"):
        verify_checkpoint(checkpoint)


def test_verify_hashes_anew_even_where_nothing_seems_to_have_changed(checkpoint, hashed):
    stat = checkpoint.path.stat()
    verify_checkpoint(checkpoint, remembered_digest)
    checkpoint.path.write_bytes(b"decayed")
    os.utime(checkpoint.path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    verify_checkpoint(checkpoint, remembered_digest)
    with pytest.raises(WeightsError, match="not the official checkpoint"):
        verify_checkpoint(checkpoint)


def test_what_cannot_be_read_is_a_weights_error(checkpoint, monkeypatch):
    def refused(path):
        raise PermissionError(13, "Permission denied")

    with pytest.raises(WeightsError, match=r"x\.pth cannot be read: Permission denied.*\$ALIGNSAM_WEIGHTS"):
        verify_checkpoint(checkpoint, refused)
    monkeypatch.setenv("ALIGNSAM_WEIGHTS", "n" * 300)
    with pytest.raises(WeightsError, match=r"cannot be read: File name too long"):
        verify_checkpoint(checkpoint)


def test_remove_takes_the_unfinished_download_along(checkpoint, folder):
    (folder / "x.pth.partial").write_bytes(b"wei")
    remove_checkpoint(checkpoint)
    assert list(folder.iterdir()) == []
    remove_checkpoint(checkpoint)


def test_what_cannot_be_removed_is_a_weights_error(checkpoint):
    checkpoint.path.unlink()
    checkpoint.path.mkdir()
    with pytest.raises(WeightsError, match=r"x\.pth cannot be removed: "):
        remove_checkpoint(checkpoint)


def test_a_digest_is_computed_once(checkpoint, hashed):
    for _ in range(3):
        assert remembered_digest(checkpoint.path) == checkpoint.sha256
    assert hashed == [checkpoint.path]


def test_a_changed_file_is_hashed_again(checkpoint, hashed):
    remembered_digest(checkpoint.path)
    checkpoint.path.write_bytes(b"others")
    assert remembered_digest(checkpoint.path) == hashlib.sha256(b"others").hexdigest()
    os.utime(checkpoint.path, ns=(0, 0))
    assert remembered_digest(checkpoint.path) == hashlib.sha256(b"others").hexdigest()
    assert len(hashed) == 3


def test_digests_are_computed_where_they_cannot_be_kept(checkpoint, hashed, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert remembered_digest(checkpoint.path) == remembered_digest(checkpoint.path) == checkpoint.sha256
    assert len(hashed) == 2
