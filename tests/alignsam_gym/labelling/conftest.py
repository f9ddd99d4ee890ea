import sys
from contextlib import contextmanager

import cv2
import numpy as np
import pytest

from alignsam_gym.foundation.encoding.embedding_store import RecentStore
from alignsam_gym.labelling.clicked_sam import ClickedSam
from alignsam_gym.labelling.labelling_project import LabellingProject
from alignsam_gym.labelling.labelling_session import LabellingSession
from alignsam_gym.labelling.photo_folder import PhotoFolder

SIZE = (40, 60)


@pytest.fixture
def photos(tmp_path):
    """photos/images/ with six photographs of 40 × 60 pixels, one of them in a subfolder."""
    folder = tmp_path / "photos"
    for number, name in enumerate(["a.png", "b.png", "c.png", "d.png", "deep/e.png", "f.png"]):
        file = folder / "images" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), np.random.default_rng(number).integers(0, 256, (*SIZE, 3), dtype=np.uint8))
    return folder


@pytest.fixture
def make_project(toy_model):
    """A project with the toy SAM; `trainer` is the program of its training."""
    made = []

    def make(folder, trainer="raise SystemExit('no training is meant')", **options):
        sam = ClickedSam(toy_model, RecentStore())
        project = LabellingProject(
            PhotoFolder.find(folder), sam, [sys.executable, "-c", trainer], device="cpu", **options
        )
        made.append(project)
        return project

    yield make
    for project in made:
        project.close()


@pytest.fixture
def project(photos, make_project):
    return make_project(photos)


@pytest.fixture
def full_disk(monkeypatch):
    """A context in which nothing can be written."""

    @contextmanager
    def full_disk():
        def full(*_):
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("alignsam_gym.data.mask_files.write_atomically", full)
            yield

    return full_disk


@pytest.fixture
def session(project):
    """A window that shows the photograph a."""
    window = LabellingSession(project)
    window.open("a")
    return window
