"""The page as a program sees it that speaks to it."""

import base64
import re
from html import unescape

import cv2
import httpx
import numpy as np
import pytest

from alignsam_gym.demo.images import MOST_BYTES
from alignsam_gym.demo.pointers import Pointers
from alignsam_gym.errors import OptionError

pytestmark = pytest.mark.slow
NEGATIVE, LAYERS, ALONE = "Negative (square): not part of it", ["Answer"], "Nothing"


@pytest.fixture
def visit(address):
    """Calls a handler by name; gives all that it answers, as text."""
    from gradio_client import Client

    client = Client(address, verbose=False)

    def call(name, *inputs):
        return unescape("\n".join(map(str, client.predict(*inputs, api_name=f"/{name}"))))

    return call


@pytest.fixture
def run(tmp_path):
    """What the run of `address` is called on the page."""
    return str(tmp_path / "run")


def upload(file):
    from gradio_client import handle_file

    return handle_file(str(file))


def test_an_image_is_prompted_and_corrected(visit, run, files, picture):
    assert "80 × 50 pixels, not prompted yet" in visit("upload_image", upload(files / "photo.png"), LAYERS)
    visit("upload_truth", upload(files / "mask.png"), LAYERS)
    prompted = visit("prompt", run, ALONE, None, LAYERS)
    assert "t = 3 of 3" in prompted
    assert "IoU with the ground truth" in prompted
    corrected = visit("add_typed", 3, LAYERS, NEGATIVE, 30, 20)
    assert "1 point of yours" in corrected
    mask = cv2.imdecode(saved(corrected), cv2.IMREAD_UNCHANGED)
    assert mask.shape == picture.size
    assert set(np.unique(mask)) <= {0, 255}
    assert "t = 1 of 3; 1 point of yours" in visit("look", 1, LAYERS)
    assert "of yours" not in visit("undo", 1, LAYERS)
    np.testing.assert_array_equal(saved(visit("look", 3, LAYERS)), saved(prompted))


def saved(answer):
    """The bytes of the mask that a page links to."""
    return np.frombuffer(base64.b64decode(re.search(r"base64,([^\"]+)", answer)[1]), np.uint8)


def test_mistakes_are_told_and_change_nothing(visit, run, files):
    assert "Choose an image first" in visit("prompt", run, ALONE, None, LAYERS)
    assert "text.png cannot be read as an image" in visit("upload_image", upload(files / "text.png"), LAYERS)
    visit("upload_image", upload(files / "photo.png"), LAYERS)
    assert "Press “Prompt SAM” first" in visit("add_typed", 0, LAYERS, NEGATIVE, 3, 3)
    visit("prompt", run, ALONE, None, LAYERS)
    assert "x from 0 to 80" in visit("add_typed", 3, LAYERS, NEGATIVE, 300, 3)
    assert "of yours" not in visit("look", 3, LAYERS)


def test_files_that_are_no_agent_are_told(visit, files):
    told = visit("load_agent", [upload(files / "photo.png")], ALONE)
    assert '"notice">photo.png: this is no agent. Drop a file NAME.alignsam' in told
    (files / "torn.alignsam").write_bytes(b"no bundle")
    told = visit("load_agent", [upload(files / "torn.alignsam")], ALONE)
    assert '"notice">torn.alignsam is no bundle, or is torn' in told


def test_browsers_may_load_from_the_page_alone(address):
    page = httpx.get(address)
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert "fonts.googleapis.com" not in page.text
    assert '"analytics_enabled":false' in page.text.replace(" ", "")


def test_large_files_are_not_taken(address):
    answer = httpx.post(f"{address}gradio_api/upload", files={"files": ("big.png", b"\0" * (MOST_BYTES + 1))})
    assert answer.status_code == 413


def test_a_port_in_use_is_told(address, make_run):
    from alignsam_gym.demo.server import served

    port = int(address.rstrip("/").rpartition(":")[2])
    with (
        pytest.raises(OptionError, match="choose another --port"),
        served(Pointers([make_run("other")], None, None, "cpu"), "127.0.0.1", port),
    ):
        pass
