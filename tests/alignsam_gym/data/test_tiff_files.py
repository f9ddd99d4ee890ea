import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from alignsam_gym.data.image_files import read_image, stated_size, turned
from alignsam_gym.data.mask_rule import MaskRule
from alignsam_gym.errors import DataError

LEVELS = np.linspace(0, 1, 20 * 30).reshape(20, 30)


def write_tiff(file, pixels, orientation=1, next_page=0):
    """Write bands (H, W) or (H, W, C) of any type, the first of which is grey."""
    height, width, bands = (*pixels.shape, 1)[:3]
    kind = {"f": 3, "u": 1}[pixels.dtype.kind]
    bits = 8 * pixels.dtype.itemsize
    lists = struct.pack(f"<{bands}H", *[bits] * bands), struct.pack(f"<{bands}H", *[kind] * bands)
    numbers = {256: width, 257: height, 258: None, 259: 1, 262: 1, 273: None, 274: orientation, 277: bands, 278: height,
               279: pixels.nbytes, 284: 1, 339: None}  # fmt: skip
    after = 8 + 2 + 12 * len(numbers) + 4
    places = {258: (3, bands, after), 339: (3, bands, after + 2 * bands), 273: (4, 1, after + 4 * bands)}
    entries = b""
    for tag, value in numbers.items():
        type_, count, number = places.get(tag, (4, 1, value))
        if tag in (258, 339) and bands <= 2:
            number = int.from_bytes(lists[tag == 339], "little")
        entries += struct.pack("<HHII", tag, type_, count, number)
    header = b"II*\0" + struct.pack("<IH", 8, len(numbers)) + entries + struct.pack("<I", next_page)
    file.write_bytes(header + b"".join(lists) + pixels.tobytes())


def test_double_precision_is_read_as_single(tmp_path):
    write_tiff(tmp_path / "double.tif", LEVELS)
    cv2.imwrite(str(tmp_path / "other.tif"), LEVELS)
    Image.fromarray(LEVELS.astype(np.float32)).save(tmp_path / "single.tif")
    expected = read_image(tmp_path / "single.tif")
    for name in ("double", "other"):
        assert stated_size(tmp_path / f"{name}.tif") == (30, 20)
        np.testing.assert_array_equal(read_image(tmp_path / f"{name}.tif"), expected)
    write_tiff(tmp_path / "mask.tif", (LEVELS > 0.5).astype(np.float64))
    np.testing.assert_array_equal(MaskRule().read(tmp_path / "mask.tif"), LEVELS > 0.5)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_double_precision_is_turned_as_the_file_says(orientation, tmp_path):
    write_tiff(tmp_path / "upright.tif", LEVELS)
    write_tiff(tmp_path / "lying.tif", LEVELS, orientation)
    found = read_image(tmp_path / "lying.tif")
    np.testing.assert_array_equal(found, turned(read_image(tmp_path / "upright.tif"), orientation))
    assert stated_size(tmp_path / "lying.tif") == found.shape[1::-1]


@pytest.mark.parametrize(
    ("bands", "dtype", "says"),
    [
        (5, np.uint8, "5 bands of 8-bit whole numbers"),
        (4, np.uint8, "4 bands of 8-bit whole numbers"),
        (5, np.uint16, "5 bands of 16-bit whole"),
        (3, np.float32, "3 bands of 32-bit fractions"),
        (4, np.float64, "4 bands of 64-bit fractions"),
    ],
)
def test_bands_that_are_no_colours_are_told(bands, dtype, says, tmp_path):
    write_tiff(tmp_path / "a.tif", np.ones((20, 30, bands), dtype))
    for read in (read_image, stated_size, MaskRule().read):
        with pytest.raises(DataError, match=rf"a\.tif has {says}.*: save it as RGB or grey .* one band as float32"):
            read(tmp_path / "a.tif")


def test_other_files_that_are_not_known_are_told_as_before(tmp_path, monkeypatch):
    write_tiff(tmp_path / "stack.tif", LEVELS, next_page=8)
    with pytest.raises(DataError, match="has several pages of 64-bit fractions: save each"):
        read_image(tmp_path / "stack.tif")
    write_tiff(tmp_path / "a.tif", LEVELS.astype(np.float16))
    for content in (b"", b"II*", b"II*\0\xff\0\0\0", (tmp_path / "a.tif").read_bytes(), b"a text"):
        (tmp_path / "b.tif").write_bytes(content)
        with pytest.raises(DataError, match=r"b\.tif cannot be read as an image"):
            read_image(tmp_path / "b.tif")
    monkeypatch.setattr("alignsam_gym.data.image_files.MOST_PIXELS", 599)
    write_tiff(tmp_path / "c.tif", LEVELS)
    with pytest.raises(DataError, match=r"c\.tif cannot be read as an image"):
        read_image(tmp_path / "c.tif")
