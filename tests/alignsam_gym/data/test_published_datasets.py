import gymnasium as gym
import numpy as np
import pytest

import alignsam_gym  # noqa: F401
from alignsam_gym.data import load_dataset
from alignsam_gym.errors import DataError, DataNotFoundError
from tests.alignsam_gym.data.trees import FOLDERS, H, W, mask, write_pair, write_published

TEXTS = {"CUHK": "defocus background", "SBU": "shadow", "MSD": "glass", "DUTS": "saliency object"}


@pytest.mark.parametrize("name", FOLDERS)
def test_the_published_layout_is_read(name, tmp_path):
    write_published(name, tmp_path, count=60)
    splits = {split: load_dataset(name.lower(), split, root=tmp_path) for split in ("train", "test")}
    expected = {"train": 20, "test": 100} if name == "CUHK" else {"train": 60, "test": 60}
    assert {split: len(data) for split, data in splits.items()} == expected
    assert not set(splits["train"].ids) & set(splits["test"].ids)
    sample = splits["test"][1]
    assert splits["test"].name == name
    assert sample.image.shape == (H, W, 3)
    assert sample.text == TEXTS[name]
    assert splits["test"].branch == ("explicit" if name == "SBU" else "implicit")


def test_cuhk_holds_out_the_last_hundred_of_its_defocused_images(tmp_path):
    home = write_published("CUHK", tmp_path, count=60)
    write_pair(home / "image", home / "gt", "motion0001")
    train, test = (load_dataset("CUHK", split, root=tmp_path) for split in ("train", "test"))
    assert list(test.ids) == sorted([*train.ids, *test.ids])[-100:]
    assert "motion0001" not in [*train.ids, *test.ids]


def test_a_missing_mask_does_not_move_cuhks_splits(tmp_path):
    home = write_published("CUHK", tmp_path, count=60)
    before = list(load_dataset("CUHK", "test", root=tmp_path).ids)
    next((home / "gt").glob(f"{before[5]}.*")).unlink()
    assert [*load_dataset("CUHK", "test", root=tmp_path, on_error="skip").ids] == before[:5] + before[6:]


@pytest.mark.parametrize("place", ["", "DUTS", "data", "data/DUTS"])
def test_the_root_may_be_the_data_set_or_a_folder_above_it(place, tmp_path):
    write_published("DUTS", tmp_path / "data")
    root = {"": tmp_path / "data" / "DUTS", "DUTS": tmp_path / "data"}.get(place, tmp_path / place)
    assert len(load_dataset("DUTS", "train", root=root)) == 4


def test_a_folder_of_the_data_sets_name_may_hold_what_was_unpacked(tmp_path):
    write_published("SBU", tmp_path / "SBU")
    assert len(load_dataset("SBU", "train", root=tmp_path)) == 4


def test_the_environment_variable_names_a_folder_of_data_sets(tmp_path, monkeypatch):
    write_published("MSD", tmp_path)
    monkeypatch.setenv("ALIGNSAM_DATA", str(tmp_path))
    env = gym.make("AlignSAM-v0", dataset="MSD", cache_dir=tmp_path / "cache")
    _, info = env.reset(seed=0)
    assert info["image_id"].startswith("train")


def test_polarity_and_text_are_options(tmp_path):
    write_published("CUHK", tmp_path, count=60)
    data = load_dataset("CUHK", "test", root=tmp_path, invert=True, text="blur")
    np.testing.assert_array_equal(data[0].mask, ~mask(20))
    assert data[0].text == "blur"


def test_without_a_root_the_message_says_how_to_give_one(monkeypatch):
    monkeypatch.delenv("ALIGNSAM_DATA", raising=False)
    with pytest.raises(DataNotFoundError, match=r"DUTS needs root=.*\$ALIGNSAM_DATA") as caught:
        load_dataset("DUTS", "train")
    assert "DUTS/DUTS-TE/DUTS-TE-Mask" in str(caught.value)
    assert "http://saliencydetection.net/duts/" in str(caught.value)


def test_a_half_present_data_set_shows_what_was_found(tmp_path):
    home = write_published("DUTS", tmp_path)
    for file in (home / "DUTS-TE" / "DUTS-TE-Mask").iterdir():
        file.unlink()
    with pytest.raises(DataError, match="DUTS is not whole") as caught:
        load_dataset("DUTS", "train", root=tmp_path)
    message = str(caught.value)
    assert "DUTS-TR-Image: 4 pictures" in message
    assert "DUTS-TE-Mask: a folder without pictures" in message
    assert "published at http" in message


def test_samples_that_cannot_be_loaded_are_left_out_on_request(tmp_path, caplog):
    home = write_published("DUTS", tmp_path, count=6)
    images, masks = home / "DUTS-TR" / "DUTS-TR-Image", home / "DUTS-TR" / "DUTS-TR-Mask"
    (masks / "train0.png").unlink()
    (images / "train1.jpg").write_bytes(b"no picture")
    with pytest.raises(DataError, match="train0"):
        gym.make("AlignSAM-v0", dataset="DUTS", dataset_kwargs={"root": tmp_path})
    kwargs = {"root": tmp_path}
    env = gym.make(
        "AlignSAM-v0", dataset="DUTS", dataset_kwargs=kwargs, on_error="skip", shots=4, cache_dir=tmp_path / "cache"
    )
    assert list(env.unwrapped.episode.encoded.dataset.ids) == ["train2", "train3", "train4", "train5"]
    assert "train0" in caplog.text
    for index in range(4):
        env.reset(seed=0, options={"index": index})
