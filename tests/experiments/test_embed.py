import subprocess
import sys
from unittest.mock import patch

import cv2
import numpy as np
import pytest
from hydra import compose, initialize_config_module

from alignsam_gym.data import load_dataset
from alignsam_gym.experiments.embed import main
from alignsam_gym.foundation.encoding.embedding_store import EmbeddingStore
from alignsam_gym.foundation.encoding.encoded_dataset import EncodedDataset
from alignsam_gym.foundation.sam.predictor import load_sam


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    for split, count in (("train", 5), ("test", 2)):
        for kind in ("images", "masks"):
            (tmp_path / "photos" / split / kind).mkdir(parents=True)
        for number in range(count):
            image = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
            mask = np.zeros((40, 50), np.uint8)
            mask[5:20, 8:30] = 255
            cv2.imwrite(str(tmp_path / "photos" / split / "images" / f"{number}.png"), image)
            cv2.imwrite(str(tmp_path / "photos" / split / "masks" / f"{number}.png"), mask)
    return tmp_path / "photos"


def embed(photos, cache, *arguments):
    command = [sys.executable, "-m", "experiments.embed", *arguments, "dataset=folder", f"dataset.root={photos}"]
    command += [f"cache_dir={cache}", f"hydra.sweep.dir={cache}/sweep"]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def command(*overrides):
    with initialize_config_module("alignsam_gym.conf", version_base="1.3"):
        return main(compose("embed", list(overrides)))


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "local", "ray_cluster"])
def test_shards_together_encode_everything_once(photos, tmp_path, launcher):
    if launcher == "ray_cluster":
        pytest.importorskip("hydra_plugins.hydra_ray_launcher")  # which wants an environment of its own
    cache = tmp_path / "cache"
    swept = embed(photos, cache, "-m", f"hydra/launcher={launcher}", "num_shards=2", "shard=0,1")
    assert swept.returncode == 0, swept.stderr
    assert "encoded 3 of 3" in swept.stdout
    assert "encoded 2 of 2" in swept.stdout
    assert swept.stdout.count("encoded 1 of 1") == 2
    again = embed(photos, cache)
    assert "encoded 0 of 5" in again.stdout
    assert "encoded 0 of 2" in again.stdout
    model = load_sam("tiny", "cpu")
    for split in ("train", "test"):
        samples = load_dataset("folder", split, root=str(photos))
        encoded = EncodedDataset(samples, model, EmbeddingStore(cache), 800)
        assert encoded.fill_store(range(len(samples))) == 0


def test_a_cache_that_keeps_nothing_ends_the_command_at_once(photos, tmp_path, toy_model, monkeypatch):
    monkeypatch.setattr("alignsam_gym.experiments.embed.load_sam", lambda *options: toy_model)
    (tmp_path / "file").touch()
    options = "dataset=folder", f"dataset.root={photos}", f"cache_dir={tmp_path / 'file'}", "batch_size=2"
    with (
        patch.object(EncodedDataset, "fill_store", autospec=True, side_effect=EncodedDataset.fill_store) as fill,
        pytest.raises(SystemExit, match=r"error: cache_dir=.*file: no embedding can be kept there"),
    ):
        command(*options)
    fill.assert_called_once()


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["shard=1"], r"shard=1: shards are numbered from 0 to num_shards − 1 = 0"),
        (["shard=-1"], r"shard=-1: shards are numbered from 0"),
        (["num_shards=0"], r"num_shards=0: .*at least one command"),
        (["splits=[]"], r"splits=\[\]: name at least one, such as \[train,test\]"),
        (["splits=train"], r"splits=train: it must be a list, such as \[train\]"),
    ],
)
def test_keys_without_meaning_are_told(overrides, says):
    with pytest.raises(SystemExit, match=f"error: {says}"):
        command(*overrides)
