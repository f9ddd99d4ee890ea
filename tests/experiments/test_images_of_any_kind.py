"""What `alignsam predict` makes of images of any size, depth and colours: the mask of the same picture in plain RGB."""

import cv2
import numpy as np
import pytest
from PIL import Image

from alignsam_gym import AlignSAM
from tests.agents.test_pretrained import picture

GREY, RGB = picture(40, 60)[..., 0], picture(40, 60)
ALPHA = np.tile(np.linspace(0, 255, 60).astype(np.uint8), (40, 1))
TURN_RIGHT = 6  # EXIF's orientation


KINDS = {
    "one_pixel.png": (Image.fromarray(picture(1, 1)), None),
    "one_row.png": (Image.fromarray(picture(1, 300)), None),
    "one_column.jpg": (Image.fromarray(picture(300, 1)), None),
    "long.png": (Image.fromarray(picture(8, 20_000)), None),
    "grey.jpg": (Image.fromarray(GREY), None),
    "bits.png": (Image.fromarray(GREY > 100), np.repeat(((GREY > 100) * np.uint8(255))[..., None], 3, 2)),
    "grey_alpha.png": (Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(ALPHA)]), np.dstack([GREY] * 3)),
    "alpha.png": (Image.fromarray(np.dstack([RGB, ALPHA])), RGB),
    "palette.png": (Image.fromarray(RGB).quantize(64), np.asarray(Image.fromarray(RGB).quantize(64).convert("RGB"))),
    "deep_grey.tif": (Image.fromarray(GREY.astype(np.uint16) * 257), np.dstack([GREY] * 3)),
    "fractions.tif": (Image.fromarray(GREY.astype(np.float32) / 255), None),
    "cmyk.jpg": (Image.fromarray(RGB).convert("CMYK"), None),
    "cmyk.tif": (Image.fromarray(RGB).convert("CMYK"), RGB),
    "lab.tif": (Image.fromarray(RGB).convert("LAB"), None),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_mask_has_the_size_of_its_image_and_is_that_of_the_picture_in_rgb(alignsam, make_run, tmp_path, name):
    image, plain = KINDS[name]
    image.save(tmp_path / name)
    run = make_run()
    assert "1 of 1 files" in alignsam("predict", run, tmp_path / name, "--out", tmp_path / "out")
    mask = cv2.imread(str((tmp_path / "out" / name).with_suffix(".png")), cv2.IMREAD_UNCHANGED)
    assert mask.shape == image.size[::-1]
    if plain is not None:
        np.testing.assert_array_equal(mask > 0, AlignSAM.from_pretrained(run).predict(plain).mask)


def test_a_photograph_is_turned_and_so_is_its_mask(alignsam, make_run, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = TURN_RIGHT
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=exif)
    run = make_run()
    for format in ("mask", "overlay"):
        alignsam("predict", run, tmp_path / "a.png", "--out", tmp_path / format, "--format", format)
    mask = cv2.imread(str(tmp_path / "mask/a.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(mask > 0, AlignSAM.from_pretrained(run).predict(np.rot90(RGB, -1).copy()).mask)
    assert cv2.imread(str(tmp_path / "overlay/a.png")).shape == (60, 40, 3)


@pytest.mark.slow
def test_eighty_megapixels_keep_their_size(alignsam, make_run, tmp_path):
    cv2.imwrite(str(tmp_path / "wide.jpg"), np.zeros((8000, 10_000, 3), np.uint8))
    alignsam("predict", make_run(), tmp_path / "wide.jpg", "--out", tmp_path / "out")
    assert cv2.imread(str(tmp_path / "out/wide.png"), cv2.IMREAD_UNCHANGED).shape == (8000, 10_000)
