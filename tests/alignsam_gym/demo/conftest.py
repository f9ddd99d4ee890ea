import numpy as np
import pytest

from alignsam_gym.demo.images import DemoImage
from alignsam_gym.demo.pointers import Pointers


@pytest.fixture
def make_pointer(make_run):
    """A pointer of an untrained agent with the toy SAM: 3 steps, 16 patches."""

    def make(**options):
        run = make_run(**options)
        return Pointers([run], None, None, "cpu").get(str(run))

    return make


@pytest.fixture
def picture():
    """50 × 80 pixels, with a bright ellipse as ground truth."""
    y, x = np.mgrid[0:1:50j, 0:1:80j]
    truth = ((y - 0.5) / 0.3) ** 2 + ((x - 0.4) / 0.25) ** 2 < 1
    image = np.random.default_rng(0).integers(0, 128, (50, 80, 3)) + 100 * truth[..., None]
    return DemoImage("photo.jpg", image.astype(np.uint8), truth)


@pytest.fixture
def address(make_run, monkeypatch):
    """Where a page is served, with an untrained agent and the toy SAM."""
    pytest.importorskip("gradio", reason="the extra demo is not installed")
    from alignsam_gym.demo.server import served

    monkeypatch.setenv("GRADIO_TEMP_DIR", "")  # to be as before
    with served(Pointers([make_run()], None, None, "cpu"), "127.0.0.1", None) as page:
        yield page.local_url


@pytest.fixture
def files(tmp_path, picture):
    """An image, its mask, and a text that calls itself an image."""
    import cv2

    cv2.imwrite(str(tmp_path / "photo.png"), picture.pixels[..., ::-1])
    cv2.imwrite(str(tmp_path / "mask.png"), picture.truth * np.uint8(255))
    (tmp_path / "text.png").write_text("no image")
    return tmp_path
