import cv2
import numpy as np
import pytest

from alignsam_gym.agents.prediction_sources import find_sources
from alignsam_gym.errors import OptionError


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in ("wide.jpg", "deep/tall.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((3, 4, 3), np.uint8))
    return tmp_path


def names(sources, outputs=()):
    return [source.name for source in find_sources(sources, outputs)]


def test_files_of_one_name_are_told_apart(photos):
    (photos / "wide.png").write_bytes((photos / "deep/tall.png").read_bytes())
    assert sorted(names([photos])) == ["deep/tall", "wide.jpg", "wide.png"]


def test_earlier_predictions_are_no_photographs(photos):
    (photos / "masks").mkdir()
    (photos / "masks/wide.png").write_bytes((photos / "deep/tall.png").read_bytes())
    assert sorted(names([photos], [photos / "masks"])) == ["deep/tall", "wide"]


def test_predictions_are_not_put_among_the_photographs(photos):
    (photos / "deep/tall.png").unlink()  # it would be replaced, which has a message of its own
    (photos / "link").symlink_to(photos)
    with pytest.raises(OptionError, match="write them to another folder"):
        names([photos], [photos / "link"])
    assert names([photos / "wide.jpg"], [photos]) == ["wide"]


def test_images_of_other_kinds_are_told(photos, caplog):
    for name in ("wide.webp", "deep/tall.heic", "._wide.jpg", "notes.txt"):
        (photos / name).touch()
    assert sorted(names([photos])) == ["deep/tall", "wide.jpg", "wide.webp"]
    assert ": 1 .heic, 1 .txt" in caplog.text


def test_frames_stand_in_the_order_of_their_numbers_folder_by_folder(photos):
    for name in ("f10.png", "f9.png", "deep/2.png", "deep/10.png", "zoom.png"):
        (photos / name).touch()
    assert names([photos]) == ["f9", "f10", "wide", "zoom", "deep/2", "deep/10", "deep/tall"]
