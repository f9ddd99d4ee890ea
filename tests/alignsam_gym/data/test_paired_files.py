"""What is wrong with pairs of files, and masks that are empty or have no label everywhere."""

import re

import numpy as np
import pytest

from alignsam_gym.data.folder_dataset import FolderDataset
from alignsam_gym.errors import DataError
from alignsam_gym.metrics import score_mask
from tests.alignsam_gym.data.trees import H, W, mask, save, save_classes, write_pair


@pytest.fixture
def folder(tmp_path):
    """Ten pairs named a to j."""
    for stem in "abcdefghij":
        write_pair(tmp_path / "images", tmp_path / "masks", stem)
    return tmp_path


def test_a_way_out_is_named_with_what_is_missing_or_empty(folder):
    save(np.zeros((H, W), np.uint8), folder / "masks" / "a.png")
    (folder / "masks" / "c.png").unlink()
    with pytest.raises(DataError, match=r"c\.jpg has no mask .*, move it away, or leave it out: env\.on_error=skip"):
        FolderDataset("train", folder)
    data = FolderDataset("test", folder, test=["a"], on_error="skip")
    with pytest.raises(DataError, match=r"leave it out: env\.on_error=skip, or take it as it is: dataset\.empty=true"):
        data[0]


def test_an_empty_mask_can_be_a_sample(folder):
    save(np.zeros((H, W), np.uint8), folder / "masks" / "a.png")
    sample = FolderDataset("test", folder, test=["a"], empty=True)[0]
    assert not sample.mask.any()
    assert sample.void is None


def test_void_pixels_count_in_no_metric(folder):
    levels = mask().astype(np.uint8)
    levels[4:8] = 255
    save_classes(levels, folder / "masks" / "a.png")
    sample = FolderDataset("test", folder, test=["a"], void=[255], foreground=[1])[0]
    np.testing.assert_array_equal(sample.void, levels == 255)
    np.testing.assert_array_equal(sample.mask, levels == 1)
    wrong_in_void = (sample.mask | sample.void).astype(np.uint8) * 255
    metrics = score_mask(wrong_in_void, sample.mask, sample.void).metrics()
    assert metrics == score_mask(sample.mask.astype(np.uint8) * 255, sample.mask, sample.void).metrics()
    assert metrics["iou"] == 1


def test_all_problems_of_both_splits_are_told_at_once(folder, caplog):
    (folder / "masks" / "b.png").unlink()
    (folder / "masks" / "c.png").unlink()
    save(np.zeros((H, W + 1), np.uint8), folder / "masks" / "d.png")
    (folder / "images" / "a.jpg").write_text("not a picture")
    told = [r"b\.jpg has no mask .* and 1 more \(c\)", r"d\.jpg is .* but its mask", r"a\.jpg cannot be read"]
    with pytest.raises(DataError) as error:
        FolderDataset("train", folder, test=["a"])
    lines = str(error.value).splitlines()
    assert len(lines) == 3
    for says in told:
        assert len([line for line in lines if re.search(says, line)]) == 1
    assert list(FolderDataset("train", folder, test=["a"], on_error="skip").ids) == list("efghij")
    for stem in "bc":
        (folder / "images" / f"{stem}.jpg").unlink()
    with pytest.raises(DataError, match=r"(?s)d\.jpg is .* but its mask.*\n.*a\.jpg cannot be read"):
        FolderDataset("train", folder, test=["a"])


def test_of_many_problems_the_first_are_told(tmp_path):
    for i in range(30):
        write_pair(tmp_path / "images", tmp_path / "masks", f"{i:02}")
    for file in (tmp_path / "masks").iterdir():
        save(np.zeros((H + 1, W), np.uint8), file)
    with pytest.raises(DataError, match=r"(?s)00\.jpg is .*19\.jpg is .*\n… and 10 more$"):
        FolderDataset("train", tmp_path)
