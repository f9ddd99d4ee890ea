"""The command line in this process, and a folder of photographs for it."""

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from alignsam_gym.experiments.cli import app


@pytest.fixture
def alignsam():
    """Runs the command in this process; gives its exit status and all that it prints."""

    def run(*arguments, status=0):
        result = CliRunner().invoke(app, [str(one) for one in arguments])
        assert result.exit_code == status, result.output
        assert "Traceback" not in result.output
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return " ".join(result.output.split())  # however wide a line is

    return run


@pytest.fixture
def photos(tmp_path):
    """A wide and a tall image, one of them in a folder."""
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    for name, size in (("wide.jpg", (30, 70)), ("deep/tall.png", (80, 20))):
        image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / name), image)
    return folder
