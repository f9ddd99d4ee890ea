"""The page as a person uses it, in the Chromium that is here."""

import cv2
import numpy as np
import pytest
from PIL import Image

from alignsam_gym.demo.images import MOST_BYTES
from tests.browsing import check_accessibility

pytestmark = pytest.mark.slow


both_widths = pytest.mark.parametrize("page", [1280, 360], ids=["wide", "narrow"], indirect=True)


@pytest.fixture
def page(request, chromium, address):
    """A window of that width with the page in it, which reaches for no other host and makes no errors."""
    hosts, errors = set(), []
    page = chromium.new_page(viewport={"width": getattr(request, "param", 1280), "height": 800})
    page.on("request", lambda asked: hosts.add(asked.url.split("/")[2]) if asked.url.startswith("http") else None)
    page.on("console", lambda told: errors.append(told.text) if told.type == "error" else None)
    page.goto(address)
    page.get_by_role("status").filter(has_text="not prompted yet").wait_for(timeout=240_000)
    yield page
    page.close()
    assert hosts == {address.split("/")[2]}
    assert not errors


def says(page, words):
    page.get_by_role("status").filter(has_text=words).wait_for(timeout=120_000)


def names(page):
    """Of the prompts in the table, but for the initial pair."""
    return page.get_by_role("rowheader").all_inner_texts()[2:]


def upload(page, file):
    opened = page.get_by_role("button", name="Upload").first
    if not opened.is_visible():
        page.get_by_role("button", name="Or an image of yours").click()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Upload").first.click()
    chooser.value.set_files(file)


@both_widths
def test_a_scene_is_prompted_watched_corrected_and_saved(page, tmp_path):
    page.get_by_role("radio", name="A mirror").check()
    says(page, "A mirror: 256 × 256 pixels")
    page.get_by_role("button", name="Prompt SAM").click()
    says(page, "t = 3 of 3")
    assert names(page) == ["1", "2", "3"]
    page.get_by_role("slider").focus()
    page.keyboard.press("ArrowLeft")
    says(page, "t = 2 of 3")
    picture = page.get_by_role("img", name="A mirror, run: t = 2 of 3")
    page.get_by_role("radio", name="Negative").check()
    box = picture.bounding_box()
    picture.click(position={"x": box["width"] * 0.25, "y": box["height"] * 0.75})
    says(page, "1 point of yours")
    assert names(page) == ["1", "2", "a"]
    name, x, y, label, *_ = page.get_by_role("row").last.locator("th, td").all_inner_texts()
    assert (name, label) == ("a", "− negative")
    assert [int(x), int(y)] == pytest.approx([64, 192], abs=2)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the mask").click()
    download.value.save_as(tmp_path / "mask.png")
    assert download.value.suggested_filename == "A mirror-mask.png"
    mask = cv2.imread(str(tmp_path / "mask.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (256, 256)
    assert set(np.unique(mask)) <= {0, 255}
    page.get_by_role("button", name="Undo").click()
    page.get_by_role("rowheader", name="a", exact=True).wait_for(state="detached")
    page.get_by_role("slider").focus()
    for _ in range(2):  # faster than SAM may answer
        page.keyboard.press("ArrowLeft")
    says(page, "t = 0 of 3")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page_width = page.viewport_size["width"]
    assert page.get_by_role("table").bounding_box()["x"] < page_width
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= page_width


@both_widths
def test_clicks_on_a_tall_picture_are_where_they_are_seen(page, tmp_path):
    cv2.imwrite(str(tmp_path / "tall.png"), np.zeros((200, 60, 3), np.uint8))
    upload(page, tmp_path / "tall.png")
    says(page, "tall.png: 60 × 200 pixels")
    page.get_by_role("button", name="Prompt SAM").click()
    says(page, "t = 3 of 3")
    picture = page.get_by_role("img", name="tall.png")
    box = picture.bounding_box()
    for down, right, told in ((0.0, 0.0, "1 point of yours"), (0.25, 0.1, "2 points of yours")):
        # From the middle, as parts of the height. The second waits until the picture shows the first.
        at = {"x": box["width"] / 2 + right * box["height"], "y": box["height"] * (0.5 + down)}
        picture.click(position=at)
        says(page, told)
    rows = page.get_by_role("row").filter(has_text="positive").filter(has=page.get_by_role("rowheader", name="a"))
    assert [int(cell) for cell in rows.last.locator("td").all_inner_texts()[:2]] == pytest.approx([30, 100], abs=2)
    last = page.get_by_role("row").last.locator("td").all_inner_texts()
    assert [int(cell) for cell in last[:2]] == pytest.approx([50, 150], abs=2)


def test_it_can_be_used_by_keyboard_alone(page):
    def reach(role, name):
        wanted = page.get_by_role(role, name=name)
        for _ in range(60):
            if wanted.evaluate("element => element === document.activeElement"):
                return
            page.keyboard.press("Tab")
        pytest.fail(f"{name} is not reached by the Tab key")

    reach("button", "Prompt SAM")
    page.keyboard.press("Enter")
    says(page, "t = 3 of 3")
    for axis, value in (("x", "40"), ("y", "50")):
        reach("spinbutton", axis)
        page.keyboard.press("Control+a")
        page.keyboard.type(value)
    reach("button", "Add the point")
    page.keyboard.press("Enter")
    says(page, "1 point of yours")
    assert page.get_by_role("row").last.locator("td").all_inner_texts()[:3] == ["40", "50", "+ positive"]


def drop(page, path):
    """Drop a file or folder, as a hand does, on the last field for files."""
    field = page.locator("button", has_text="Drop File Here").last
    field.scroll_into_view_if_needed()
    box = field.bounding_box()
    at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    hand = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
        hand.send("Input.dispatchDragEvent", {"type": kind, **at, "data": data})


@both_widths
def test_an_agent_is_dropped_compared_and_kept_as_a_gif(page, tmp_path):
    check_accessibility(page)
    page.get_by_role("button", name="Or an agent of yours").click()
    drop(page, tmp_path / "run")
    page.get_by_text("The trained agent of dropped run 1").wait_for(timeout=120_000)
    page.get_by_label("Compare with").click()
    page.get_by_role("option", name=str(tmp_path / "run")).click()
    page.get_by_role("button", name="Prompt SAM").click()
    says(page, "dropped run 1: t = 3 of 3")
    says(page, "run: t = 3 of 3")
    page.get_by_role("checkbox", name="Answer").uncheck()
    assert page.get_by_role("img", name="A cat, ").count() == 2
    page.get_by_role("button", name="All steps as GIF").click()
    with page.expect_download(timeout=120_000) as download:
        page.get_by_text("Save the GIF").click()
    download.value.save_as(tmp_path / "episode.gif")
    with Image.open(tmp_path / "episode.gif") as gif:
        assert (gif.n_frames, gif.width) == (4, 2 * 640 + 8)
    check_accessibility(page)


def test_too_large_a_file_is_told_before_it_is_taken(page, tmp_path):
    (tmp_path / "big.png").write_bytes(b"0" * (MOST_BYTES + 1))
    upload(page, tmp_path / "big.png")
    page.get_by_text("exceed the maximum").wait_for(timeout=120_000)
    assert page.get_by_role("status").filter(has_text="A cat").count()


def test_bad_files_are_told_in_the_page(page, files):
    upload(page, files / "text.png")
    alert = page.get_by_role("alert").filter(has_text="cannot be read as an image")
    alert.wait_for(timeout=120_000)
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    shown = alert.bounding_box()
    assert 0 < shown["y"] < shown["y"] + shown["height"] <= page.viewport_size["height"]
    assert "Traceback" not in page.inner_text("body")
    page.get_by_role("button", name="Clear").first.click()
    upload(page, files / "photo.png")
    says(page, "photo.png: 80 × 50 pixels")
    assert not alert.count()
