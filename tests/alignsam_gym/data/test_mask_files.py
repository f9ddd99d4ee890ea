import errno
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alignsam_gym.data.mask_files import read_levels, write_mask, write_picture
from alignsam_gym.errors import DataError

LEVELS = np.arange(256, dtype=np.uint8).reshape(16, 16)


def test_a_mask_survives_its_file(tmp_path):
    mask = LEVELS % 3 == 0
    write_mask(tmp_path, "deep/er/name.with.dots", mask)
    assert np.array_equal(read_levels(tmp_path / "deep/er/name.with.dots.png"), mask * np.uint8(255))


def test_colours_survive_their_file(tmp_path):
    picture = np.stack([LEVELS, LEVELS.T, LEVELS[::-1]], axis=2)
    write_picture(tmp_path, "a", picture)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), picture)


def test_a_mask_that_cannot_be_written_is_an_error(tmp_path, monkeypatch):
    def fill_the_disk(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill_the_disk)
    with pytest.raises(DataError, match=r"a\.png cannot be written \(No space left on device\)"):
        write_mask(tmp_path, "a", LEVELS > 0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P"])
def test_grey_levels_are_read_whatever_they_are_packed_in(tmp_path, mode):
    Image.fromarray(LEVELS).convert(mode).save(tmp_path / "a.png")
    assert np.array_equal(read_levels(tmp_path / "a.png"), LEVELS)


def test_bits_are_read_as_0_and_255(tmp_path):
    Image.fromarray(LEVELS > 100).save(tmp_path / "a.png")
    assert np.array_equal(read_levels(tmp_path / "a.png"), (LEVELS > 100) * np.uint8(255))


def test_what_is_no_mask_is_an_error(tmp_path):
    Image.fromarray(np.stack([LEVELS, LEVELS, LEVELS.T], axis=2)).save(tmp_path / "colours.png")
    Image.fromarray(LEVELS.astype(np.uint16) * 200).save(tmp_path / "deep.png")
    (tmp_path / "text.png").write_text("no picture")
    for name in ("colours", "deep"):
        with pytest.raises(DataError, match=f"{name}.png is no mask"):
            read_levels(tmp_path / f"{name}.png")
    Image.new("RGB", (30, 20)).save(tmp_path / "script.png", "EPS")
    for name in ("text", "script"):
        with pytest.raises(DataError, match=rf"{name}.png cannot be read .*cannot identify"):
            read_levels(tmp_path / f"{name}.png")
