import logging

import cv2
import numpy as np
import pytest
from PIL import Image

from alignsam_gym.data import image_files
from alignsam_gym.data.image_files import FORMATS, read_header, read_image, rgb_of, stated_size
from alignsam_gym.data.mask_rule import MaskRule
from alignsam_gym.errors import DataError

RAMP = np.linspace(0, 255, 30 * 20).reshape(20, 30).astype(np.uint8)


def grey(levels):
    return np.repeat(levels[..., None], 3, 2)


# More than 8 bits


def test_sixteen_bits_keep_their_upper_half(tmp_path):
    file = tmp_path / "deep.png"
    Image.fromarray(RAMP.astype(np.uint16) << 8 | 77).save(file)
    assert Image.open(file).mode.startswith("I")
    np.testing.assert_array_equal(read_image(file), grey(RAMP))


@pytest.mark.parametrize(("low", "high"), [(800, 1300), (0, 4095), (0, 2000)])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_small_part_of_the_range_is_stretched_and_told_once(low, high, suffix, tmp_path, caplog):
    values = np.linspace(low, high, 20 * 30).reshape(20, 30).astype(np.uint16)
    files = [tmp_path / f"{name}{suffix}" for name in "ab"]
    for file in files:
        Image.fromarray(values).save(file)
    with caplog.at_level(logging.WARNING):
        images = [read_image(file) for file in files]
    assert len(np.unique(images[0])) == 256
    assert (images[0].min(), images[0].max()) == (0, 255)
    assert (np.diff(images[0][..., 0].ravel().astype(int)) >= 0).all()
    assert caplog.text.count("stretched") == 1
    assert "In training, dataset.intensity_range=[low, high] sets two values for all" in caplog.text


def test_the_range_can_be_given(tmp_path):
    values = np.array([[0, 1000, 2048, 4095, 60000]], np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", [0, 4095])[0, :, 0].tolist() == [0, 62, 128, 255, 255]
    assert read_image(tmp_path / "a.png", "full")[0, :, 0].tolist() == [0, 3, 8, 15, 234]


def test_fractions_are_of_one(tmp_path):
    fractions = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    Image.fromarray(fractions).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), grey(np.arange(256, dtype=np.uint8).reshape(16, 16)))
    np.testing.assert_array_equal(rgb_of(Image.fromarray(fractions)), read_image(tmp_path / "a.tif"))


def test_fractions_are_of_one_whatever_the_highest(tmp_path, caplog):
    fractions = np.full((16, 16), 0.5, np.float32)
    fractions[0, 0] = 1.01
    Image.fromarray(fractions).save(tmp_path / "a.tif")
    image = read_image(tmp_path / "a.tif", "full")[..., 0]
    assert image[0, 0] == 255
    assert (image.ravel()[1:] == 128).all()
    with caplog.at_level(logging.WARNING):
        assert read_image(tmp_path / "a.tif")[0, 0, 0] == 255
    assert "go beyond it, are stretched" in caplog.text


@pytest.mark.parametrize("values", [np.uint16([[0, 1, 0, 1]]).repeat(4, 0), np.float32([[0.5, 0.75] * 2]).repeat(4, 0)])
def test_a_range_is_that_of_the_stored_type_at_a_reduced_size(values, tmp_path, monkeypatch):
    monkeypatch.setattr(image_files, "FULL_SIZE_PIXELS", 4)
    Image.fromarray(values).save(tmp_path / "a.tif")
    image = read_image(tmp_path / "a.tif", "full")
    assert image.shape == (2, 2, 3)
    assert np.unique(image).tolist() == ([0] if values.dtype == np.uint16 else [160])


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bit_colours_are_stretched_too(suffix, tmp_path):
    values = np.random.default_rng(0).integers(800, 1301, (20, 30, 3)).astype(np.uint16)
    cv2.imwrite(str(tmp_path / f"a{suffix}"), values[..., ::-1])
    image = read_image(tmp_path / f"a{suffix}")
    expected = (values.astype(float) - values.min()) / (values.max() - values.min()) * 255
    assert np.abs(image - expected).max() < 1.01


def test_values_that_are_no_numbers_are_told(tmp_path):
    Image.fromarray(np.array([[0, np.nan]], np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"a\.tif holds values that are no numbers"):
        read_image(tmp_path / "a.tif")


# Colours, turns, sizes, formats


def test_cmyk_is_converted(tmp_path):
    file = tmp_path / "print.jpg"
    colour = np.broadcast_to(np.array([200, 40, 90], np.uint8), (20, 30, 3))
    Image.fromarray(colour).convert("CMYK").save(file, quality=95)
    assert Image.open(file).mode == "CMYK"
    assert np.abs(read_image(file).astype(int) - colour).max() < 12


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_mode_becomes_rgb_of_the_stated_size(mode, tmp_path):
    file = tmp_path / "any.png"
    picture = Image.fromarray(RAMP.astype(np.uint16) << 8) if mode == "I;16" else Image.fromarray(RAMP).convert(mode)
    picture.save(file)
    image = read_image(file)
    assert image.dtype == np.uint8
    assert image.shape == (20, 30, 3)
    assert stated_size(file) == (30, 20)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_every_orientation_is_turned_upright(orientation, suffix, tmp_path):
    upright = np.zeros((16, 32), np.uint8)
    upright[:8, :8] = 255
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright),
        7: np.rot90(upright.T, 2),
        8: np.rot90(upright, 3),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / f"turned{suffix}"
    compression = {"compression": "tiff_lzw"} if suffix == ".tif" else {}
    Image.fromarray(np.ascontiguousarray(stored)).save(file, exif=exif, **compression)
    assert np.abs(read_image(file).astype(int) - upright[..., None]).max() < 10
    np.testing.assert_array_equal(MaskRule().read(file), upright > 0)
    np.testing.assert_array_equal(rgb_of(Image.open(file)), read_image(file))
    header = read_header(file)
    assert (header.size, header.stored_size) == ((32, 16), stored.shape[::-1])
    assert stated_size(file) == (32, 16)


def test_an_uncompressed_tiff_on_its_side_is_told(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(RAMP).save(tmp_path / "a.tif", exif=exif)
    with pytest.raises(DataError, match=r"a\.tif is an uncompressed TIFF that EXIF turns .*; save it upright"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("exif", [b"Exif\x00\x00II*\x00", b"Exif\x00\x00rubbish", b"MM"])
def test_an_image_whose_exif_block_is_broken_is_upright(exif, tmp_path, caplog):
    file = tmp_path / "a.webp"
    Image.fromarray(RAMP).convert("RGB").save(file, exif=exif, lossless=True)
    assert read_header(file).orientation is None
    np.testing.assert_array_equal(read_image(file)[..., 0], RAMP)
    (told,) = caplog.messages
    assert f"{file} has a broken EXIF block" in told


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (3000, 2)])
def test_images_of_odd_sizes_are_read(size, tmp_path):
    file = tmp_path / "odd.png"
    Image.new("RGB", size, (1, 2, 3)).save(file)
    assert read_image(file).shape == (size[1], size[0], 3)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_a_very_large_image_is_read_smaller_and_its_mask_with_it(suffix, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(image_files, "FULL_SIZE_PIXELS", 1000)
    mask = np.zeros((70, 101), bool)
    mask[21:56, 33:77] = True
    Image.fromarray(mask).convert("L").convert("RGB").save(tmp_path / f"image{suffix}")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    with caplog.at_level(logging.WARNING):
        image, small = read_image(tmp_path / f"image{suffix}"), MaskRule().read(tmp_path / "mask.png")
    assert image.shape[:2] == small.shape == (24, 34)  # a third, rounded up
    assert "read at a reduced size" in caplog.text
    assert np.mean((image[..., 0] > 127) == small) > 0.97
    assert stated_size(tmp_path / f"image{suffix}") == (101, 70)


def test_an_image_beyond_pillows_limit_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow refuses more than twice as many
    Image.fromarray(RAMP).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").shape == (20, 30, 3)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_an_image_beyond_our_limit_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(image_files, "MOST_PIXELS", 599)
    Image.fromarray(RAMP).save(tmp_path / "a.png")
    for read in (read_image, stated_size, MaskRule().read):
        with pytest.raises(DataError, match=r"a\.png has .* megapixels, more than .* cut it into tiles"):
            read(tmp_path / "a.png")


def test_several_pages_are_told(tmp_path):
    pages = [Image.fromarray(RAMP), Image.fromarray(RAMP.T.copy())]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(DataError, match=r"stack\.tif has 2 pages; save each as a file of its own"):
        read_image(tmp_path / "stack.tif")


@pytest.mark.parametrize("format", [*FORMATS, "MPO"])
def test_a_file_may_hold_another_format_than_its_name_says(format, tmp_path):
    file = tmp_path / "photo.png"
    Image.new("RGB", (30, 20), (200, 40, 90)).save(file, format)
    assert stated_size(file) == (30, 20)
    assert np.abs(read_image(file).astype(int) - (200, 40, 90)).max() < 12


@pytest.mark.parametrize("read", [read_image, MaskRule().read, MaskRule().read_levels, stated_size])
def test_a_format_that_starts_a_program_is_no_image(read, tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "photo.png", "EPS")
    with pytest.raises(DataError, match="cannot identify"):
        read(tmp_path / "photo.png")
