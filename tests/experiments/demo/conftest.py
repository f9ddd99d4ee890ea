import numpy as np
import pytest

from experiments.demo.pictures import Picture
from experiments.demo.pointers import Pointers


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
    return Picture("photo.jpg", image.astype(np.uint8), truth)
