import itertools
import os
import signal
import unicodedata

import cv2
import numpy as np
import pytest
from PIL import Image

from alignsam_gym.data.folder_dataset import FolderDataset
from alignsam_gym.data.stored_mask import resize_nearest
from alignsam_gym.errors import DataError
from alignsam_gym.labelling.photo_folder import PhotoFolder
from alignsam_gym.labelling.saved_masks import MaskChangedError, SavedMasks
from tests.alignsam_gym.labelling.conftest import SIZE


@pytest.fixture
def masks(photos):
    return SavedMasks(PhotoFolder.find(photos))


def a_mask(seed=0, size=SIZE):
    return np.random.default_rng(seed).random(size) < 0.3


def test_what_was_written_is_read(masks, photos):
    masks.write("deep/e", a_mask(), seen=None)
    np.testing.assert_array_equal(masks.read("deep/e", SIZE), a_mask())
    stored = cv2.imread(str(photos / "masks/deep/e.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(stored, a_mask() * np.uint8(255))
    assert masks.stems() == {"deep/e"}
    assert masks.read("a", SIZE) is None


@pytest.mark.parametrize("fill", [False, True])
def test_a_mask_of_one_level_is_read_as_it_was_meant(masks, fill):
    masks.write("a", np.full(SIZE, fill), seen=None)
    assert (masks.read("a", SIZE) == fill).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(30, 50), (40, 40)])
def test_a_turned_photograph_and_its_mask_stay_together_in_training(tmp_path, orientation, size):
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "images").mkdir()
    for name in "ab":
        Image.new("RGB", size[::-1]).save(tmp_path / f"images/{name}.jpg", exif=exif)
    masks = SavedMasks(PhotoFolder.find(tmp_path))
    upright = size if orientation < 5 else size[::-1]
    for name in "ab":
        masks.write(name, a_mask(size=upright), seen=None)
        np.testing.assert_array_equal(masks.read(name, upright), a_mask(size=upright))
    sample = FolderDataset("test", tmp_path, test=["a"])[0]
    np.testing.assert_array_equal(sample.mask, a_mask(size=upright))


def test_a_mask_that_changed_since_it_was_seen_is_not_overwritten(masks):
    seen = masks.write("a", a_mask(0), seen=None)
    masks.write("a", a_mask(1), seen)
    for write in (lambda: masks.write("a", a_mask(2), seen), lambda: masks.put("a", None, seen)):
        with pytest.raises(MaskChangedError, match="mask of a has been changed elsewhere"):
            write()
    with pytest.raises(MaskChangedError):
        masks.write("a", a_mask(2), seen=None)
    np.testing.assert_array_equal(masks.read("a", SIZE), a_mask(1))


def test_a_mask_that_is_taken_away_is_gone(masks, photos):
    masks.put("a", None, masks.write("a", a_mask(), None))
    assert list((photos / "masks").iterdir()) == []
    masks.put("a", None, None)


def test_a_users_mask_in_another_format_is_not_doubled(masks, photos):
    (photos / "masks").mkdir()
    cv2.imwrite(str(photos / "masks/a.bmp"), a_mask() * np.uint8(255))
    with pytest.raises(DataError, match=r"a\.bmp is in the place of a mask, but no PNG file"):
        masks.write("a", a_mask(), None)
    assert masks.content("b") is None


def test_a_disk_that_cannot_be_written_to_is_told_and_keeps_what_it_had(masks, photos, monkeypatch):
    seen = masks.write("a", a_mask(0), None)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("alignsam_gym.data.mask_files.write_atomically", full)
    with pytest.raises(DataError, match="disk full"):
        masks.write("a", a_mask(1), seen)
    np.testing.assert_array_equal(masks.read("a", SIZE), a_mask(0))


def write_for_ever(masks, both, tell):
    """What the process does that is killed."""
    try:
        seen = masks.content("a")
        for mask in itertools.cycle(both):
            seen = masks.write("a", mask, seen)
            os.write(tell, b".")
    finally:
        os._exit(1)


def test_a_kill_between_and_in_writes_leaves_a_whole_mask(masks):
    size = (400, 600)  # larger than the photograph: that takes longer to write
    both = [a_mask(seed, size) for seed in range(2)]
    for writes in (1, 4, 9):
        ready, tell = os.pipe()
        child = os.fork()
        if child == 0:
            write_for_ever(masks, both, tell)
        for _ in range(writes):
            os.read(ready, 1)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        found = masks.read("a", SIZE)
        assert any(np.array_equal(found, resize_nearest(mask, SIZE)) for mask in both)
        masks.write("a", both[0], masks.content("a"))  # no lock is left behind


def test_a_mask_whose_name_is_in_decomposed_unicode_is_read_and_replaced(photos):
    folder = photos / "images/été"
    (photos / "images/deep").rename(folder)
    masks = SavedMasks(PhotoFolder.find(photos))
    file = photos / "masks" / unicodedata.normalize("NFD", "été/e.png")
    file.parent.mkdir(parents=True)
    cv2.imwrite(str(file), a_mask(0) * np.uint8(255))
    np.testing.assert_array_equal(masks.read("été/e", SIZE), a_mask(0))
    masks.write("été/e", a_mask(1), masks.content("été/e"))
    np.testing.assert_array_equal(masks.read("été/e", SIZE), a_mask(1))
    assert [path for path in (photos / "masks").rglob("*") if path.is_file()] == [file]
    file.rename(file.with_suffix(".bmp"))
    with pytest.raises(DataError, match="no PNG file"):
        masks.write("été/e", a_mask(), None)
