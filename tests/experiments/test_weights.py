import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module

from alignsam_gym.experiments import weights
from alignsam_gym.foundation.sam.official_checkpoints import CHECKPOINTS, Checkpoint


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Holds vit_b and vit_t as their publishers made them: seven bytes each. vit_l and vit_h are not there."""
    monkeypatch.setenv("ALIGNSAM_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "250")
    digest = hashlib.sha256(b"weights").hexdigest()
    for name in ("vit_b", "vit_t"):
        monkeypatch.setitem(CHECKPOINTS, name, Checkpoint(name, f"http://localhost:9/{name}.pth", digest, 7))
        (tmp_path / f"{name}.pth").write_bytes(b"weights")
    return tmp_path


def command(*overrides):
    with initialize_config_module("alignsam_gym.conf", version_base="1.3"):
        weights.main(compose("weights", list(overrides)))


def test_the_list_shows_what_is_there(folder, capsys):
    (folder / "vit_t.pth").write_bytes(b"damaged")
    (folder / "sam_vit_h_4b8939.pth.partial").write_bytes(b"wei")
    command()
    shown = capsys.readouterr().out
    lines = {line.split()[1]: line for line in shown.splitlines() if line.startswith("│")}
    assert lines.keys() == CHECKPOINTS.keys()
    assert "intact" in lines["vit_b"]
    assert "vit_b.pth" in lines["vit_b"]
    assert shown.endswith(f"They belong in {folder}\n")
    assert "not the official file" in lines["vit_t"]
    assert "missing" in lines["vit_l"]
    assert "unfinished" in lines["vit_h"]
    assert "2,565 MB" in lines["vit_h"]


@pytest.mark.parametrize("names", ["vit_b", "[vit_b]", "[vit_b,vit_t]"])
def test_download_leaves_alone_what_is_there(folder, caplog, names):
    with caplog.at_level("INFO"):
        command("action=download", f"names={names}")
    assert f"vit_b is at {folder / 'vit_b.pth'}" in caplog.text
    assert ("vit_t is at" in caplog.text) == ("vit_t" in names)


def test_download_without_a_network_says_what_to_do(folder):
    (folder / "vit_b.pth").unlink()
    with pytest.raises(SystemExit, match=r"error: http://localhost:9/vit_b\.pth cannot be fetched: .*put it at"):
        command("action=download", "names=vit_b")


def test_an_interrupted_download_exits_as_interrupted(folder, monkeypatch, caplog):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(weights, "download_checkpoint", interrupt)
    with caplog.at_level("INFO"), pytest.raises(SystemExit, match="130"):
        command("action=download", "names=vit_b")
    assert "goes on from here" in caplog.text


def test_verify_reports_on_all_that_is_there(folder, caplog):
    with caplog.at_level("INFO"):
        command("action=verify")
    assert caplog.text.count("is intact") == 2
    (folder / "vit_b.pth").write_bytes(b"damaged")
    caplog.clear()
    with caplog.at_level("INFO"), pytest.raises(SystemExit, match=r"error: .*vit_b\.pth is not the official"):
        command("action=verify")
    assert "vit_t is intact" in caplog.text


def test_verify_misses_what_it_is_asked_for(folder):
    with pytest.raises(SystemExit, match="is not at"):
        command("action=verify", "names=vit_l")


def test_remove_takes_only_what_is_named(folder):
    command("action=remove", "names=vit_b")
    assert [file.name for file in folder.iterdir()] == ["vit_t.pth"]


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["action=fetch"], "action='fetch' is unknown; choose one of list, download, verify, remove"),
        (["names=vit_x"], "names='vit_x' is unknown; choose one of vit_b"),
        (["names=1"], "names=1 is unknown; choose one of vit_b"),
        (["names=[1]"], "names=1 is unknown; choose one of vit_b"),
        (["action=download"], "action=download needs names"),
        (["action=remove"], "action=remove needs names"),
    ],
)
def test_a_mistake_is_a_message(folder, overrides, says):
    with pytest.raises(SystemExit, match=says):
        command(*overrides)


@pytest.mark.parametrize("action", ["list", "verify", "remove", "download"])
def test_a_folder_that_cannot_be_is_a_message(monkeypatch, action):
    monkeypatch.setenv("ALIGNSAM_WEIGHTS", "n" * 300)
    with pytest.raises(SystemExit, match=r"error: .* File name too long"):
        command(f"action={action}", *(["names=vit_b"] if action in ("remove", "download") else []))


@pytest.mark.slow
def test_the_command_leaves_no_folder_behind(tmp_path):
    environment = {**os.environ, "ALIGNSAM_WEIGHTS": str(tmp_path / "weights"), "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(
        [sys.executable, "-m", "experiments.weights"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("missing") == len(CHECKPOINTS)
    assert list(tmp_path.iterdir()) == []
