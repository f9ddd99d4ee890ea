from pathlib import Path

import cv2
import numpy as np
import pytest

from alignsam_gym.demo import images
from alignsam_gym.errors import DataError
from tests.pictures import png_that_states


@pytest.mark.parametrize("name", images.EXAMPLES)
def test_every_example_has_something_to_find_and_a_text(name):
    drawn = images.draw_example(name)
    assert drawn.pixels.shape == (*drawn.size, 3)
    assert 0 < drawn.truth.mean() < 1
    assert drawn.text


def test_photographs_are_small_and_name_their_makers_and_licences():
    assert 3 <= len(images.PHOTOGRAPHS) <= 6
    for name, source in images.PHOTOGRAPHS.items():
        photograph = images.read_photograph(name)
        assert photograph.text
        assert photograph.truth is None
        assert max(photograph.size) <= 640
        assert " by " in source
        assert "CC0" in source or "public domain" in source
    folder = Path(images.__file__).with_name("photographs")
    assert sum(file.stat().st_size for file in folder.iterdir()) < 400_000


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "it is empty"),
        (b"no image", "cannot be read as an image"),
        (png_that_states(10_000, 2_501), "10000 × 2501 pixels, more than 25 million"),
        (png_that_states(5_000, 5_000), "cannot be read as an image"),  # not too large, but torn
        (b"\0" * (images.MOST_BYTES + 1), "more than 20 MB"),
    ],
)
def test_what_is_wrong_with_an_upload_is_said_without_its_place(tmp_path, content, says):
    file = tmp_path / "photo.png"
    file.write_bytes(content)
    with pytest.raises(DataError, match=says) as raised:
        images.read_upload(file)
    assert str(raised.value).startswith("photo.png ")
    assert str(tmp_path) not in str(raised.value)


def test_an_uploaded_mask_becomes_the_ground_truth(tmp_path, picture):
    levels = np.zeros(picture.size, np.uint8)
    levels[:20, :30] = 128
    cv2.imwrite(str(tmp_path / "mask.png"), levels)
    truth = images.with_truth(picture, tmp_path / "mask.png").truth
    np.testing.assert_array_equal(truth, levels == 128)


def test_an_uploaded_mask_of_several_levels_is_refused(tmp_path, picture):
    levels = np.zeros(picture.size, np.uint8)
    levels[:20, :30], levels[30:] = 255, 127
    cv2.imwrite(str(tmp_path / "mask.png"), levels)
    with pytest.raises(DataError, match=r"^mask\.png does not say what is foreground.* Save it in black and white\.$"):
        images.with_truth(picture, tmp_path / "mask.png")


def test_a_mask_of_another_size_is_refused(tmp_path, picture):
    cv2.imwrite(str(tmp_path / "mask.png"), np.zeros(picture.size[::-1], np.uint8))
    with pytest.raises(DataError, match="50 × 80 pixels and the image 80 × 50"):
        images.with_truth(picture, tmp_path / "mask.png")


def test_a_mask_is_saved_as_0_and_255(picture):
    decoded = cv2.imdecode(np.frombuffer(images.png(picture.truth), np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(decoded, picture.truth * np.uint8(255))
