import shutil

import cv2
import numpy as np
import pytest

from alignsam_gym.data.folder_dataset import FolderDataset
from alignsam_gym.errors import DataError, OptionError
from alignsam_gym.labelling.photo_folder import PhotoFolder
from tests.alignsam_gym.labelling.conftest import SIZE

STEMS = ["a", "b", "c", "d", "deep/e", "f"]


def options_of(folder):
    """The options of the data set that the folder's keys set."""
    pairs = [key.removeprefix("dataset.").split("=") for key in folder.dataset_options]
    return {key: value for key, value in pairs if key in ("root", "images", "masks")}


@pytest.mark.parametrize("below", ["", "images"])
def test_photographs_in_images_have_their_masks_beside_them(photos, below):
    found = PhotoFolder.find(photos / below)
    assert list(found.photographs) == STEMS
    assert (found.root, found.masks) == (photos, photos / "masks")
    assert found.dataset_options == ["dataset=folder", f"dataset.root={photos}", "env.on_error=skip"]
    assert found.beside("predictions") == photos / "predictions"


@pytest.mark.parametrize("name", ["photos", "photos/images"], ids=["images", "flat"])
def test_the_keys_that_it_names_read_the_masks_that_it_places(photos, tmp_path, name):
    folder = photos
    if name != "photos":
        folder = shutil.move(photos / "images", tmp_path / "my photographs")
    found = PhotoFolder.find(folder)
    for stem in STEMS:
        file = found.masks / f"{stem}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), np.eye(*SIZE, dtype=np.uint8) * 255)
    options = options_of(found)
    read = [*FolderDataset("train", **options).ids, *FolderDataset("test", **options).ids]
    assert sorted(read) == sorted(STEMS)


def test_masks_of_a_flat_folder_are_no_photographs(photos):
    flat = PhotoFolder.find(shutil.move(photos / "images", photos.parent / "flat"))
    flat.masks.mkdir()
    flat.state.mkdir()
    cv2.imwrite(str(flat.masks / "a.png"), np.zeros(SIZE, np.uint8))
    cv2.imwrite(str(flat.state / "picture.png"), np.zeros(SIZE, np.uint8))
    assert list(PhotoFolder.find(flat.images).photographs) == STEMS


def test_what_cannot_be_labelled_is_told(photos, tmp_path):
    with pytest.raises(DataError, match="There is no folder"):
        PhotoFolder.find(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty holds no PNG"):
        PhotoFolder.find(tmp_path / "empty")
    for split in ("train", "test"):
        shutil.copytree(photos / "images", tmp_path / "split" / split / "images")
    with pytest.raises(OptionError, match=r"label .*train, then .*test"):
        PhotoFolder.find(tmp_path / "split")
    shutil.copy(photos / "images/a.png", photos / "images/a.bmp")
    with pytest.raises(DataError, match="have one name"):
        PhotoFolder.find(photos)
