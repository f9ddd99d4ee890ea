import numpy as np
import pytest
from PIL import Image

from alignsam_gym.data.image_files import FORMATS, read_image, read_luminance, stated_size
from alignsam_gym.errors import DataError

RAMP = np.linspace(0, 255, 30 * 20).reshape(20, 30).astype(np.uint8)


def test_sixteen_bits_keep_their_upper_half(tmp_path):
    file = tmp_path / "deep.png"
    Image.fromarray(RAMP.astype(np.uint16) << 8 | 77).save(file)
    assert Image.open(file).mode.startswith("I")
    np.testing.assert_array_equal(read_image(file), np.repeat(RAMP[..., None], 3, 2))
    np.testing.assert_array_equal(read_luminance(file), RAMP)


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
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_every_orientation_is_turned_upright(orientation, suffix, tmp_path):
    upright = np.zeros((16, 32), np.uint8)
    upright[:8, :8], upright[:8, 24:] = 255, 128
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
    Image.fromarray(np.ascontiguousarray(stored)).save(file, exif=exif)
    assert np.abs(read_luminance(file).astype(int) - upright).max() < 10
    assert stated_size(file) == (32, 16)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (3000, 2)])
def test_images_of_any_size_are_read(size, tmp_path):
    file = tmp_path / "odd.png"
    Image.new("RGB", size, (1, 2, 3)).save(file)
    assert read_image(file).shape == (size[1], size[0], 3)


@pytest.mark.parametrize("format", [*FORMATS, "MPO"])
def test_a_file_may_hold_another_format_than_its_name_says(format, tmp_path):
    file = tmp_path / "photo.png"
    Image.new("RGB", (30, 20), (200, 40, 90)).save(file, format)
    assert stated_size(file) == (30, 20)
    assert np.abs(read_image(file).astype(int) - (200, 40, 90)).max() < 12


@pytest.mark.parametrize("read", [read_image, read_luminance, stated_size])
def test_a_format_that_starts_a_program_is_no_image(read, tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "photo.png", "EPS")
    with pytest.raises(DataError, match="cannot identify"):
        read(tmp_path / "photo.png")
