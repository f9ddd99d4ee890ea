import errno
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alignsam_gym.data.mask_files import write_mask, write_picture
from alignsam_gym.data.mask_rule import MaskRule
from alignsam_gym.errors import DataError

LEVELS = np.arange(256, dtype=np.uint8).reshape(16, 16)


def test_a_mask_survives_its_file(tmp_path):
    mask = LEVELS % 3 == 0
    write_mask(tmp_path, "deep/er/name.with.dots", mask)
    assert np.array_equal(MaskRule().read(tmp_path / "deep/er/name.with.dots.png"), mask)


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
