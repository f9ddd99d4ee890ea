"""The page as a person uses it, in the Chromium that is here."""

import numpy as np
import pytest

from alignsam_gym.labelling.label_server import served_labels
from tests.alignsam_gym.labelling.conftest import SIZE
from tests.browsing import check_accessibility

pytestmark = pytest.mark.slow
H, W = SIZE


@pytest.fixture
def address(project):
    pytest.importorskip("starlette", reason="the extra demo is not installed")
    with served_labels(project, 0) as place:
        yield place


@pytest.fixture
def open_window(chromium, address):
    """Opens a window of that width, which reaches for no other host and makes no errors."""
    hosts, errors, opened = set(), [], []

    def open_one(width=1280):
        page = chromium.new_page(viewport={"width": width, "height": 800})
        page.on("request", lambda asked: hosts.add(asked.url.split("/")[2]) if asked.url.startswith("http") else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        says(page, "No mask yet")
        opened.append(page)
        return page

    yield open_one
    for page in opened:
        page.close()
    assert hosts == {address.split("/")[2]}
    assert not errors


def says(page, words):
    page.get_by_role("status").filter(has_text=words).wait_for(timeout=120_000)


def at(page, x, y):
    """Where a pixel of the photograph is in the window."""
    box = page.locator("#picture").bounding_box()
    left, top = page.evaluate("at => toPage(at)", [x, y])
    return box["x"] + left, box["y"] + top


def drag(page, start, end):
    page.mouse.move(*at(page, *start))
    page.mouse.down()
    page.mouse.move(*at(page, *end), steps=4)
    page.mouse.up()


def until(page, condition):
    """Wait for it, without `eval`, which the page's policy forbids."""
    for _ in range(2400):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"{condition} has not come true")


def answered(page):
    page.evaluate("waiting")


def mask_of(project, stem="a"):
    return project.masks.read(stem, SIZE)


@pytest.mark.parametrize("width", [1280, 360], ids=["wide", "narrow"])
def test_a_photograph_is_labelled_by_mouse(open_window, project, width):
    page = open_window(width)
    check_accessibility(page)
    page.mouse.click(*at(page, 30.5, 20.5))
    page.mouse.click(*at(page, 10.5, 5.5), button="right")
    answered(page)
    window = page.evaluate("shown")
    assert [point[2] for point in window["points"]] == [True, False]
    np.testing.assert_allclose([point[:2] for point in window["points"]], [[30.5, 20.5], [10.5, 5.5]], atol=0.2)
    page.get_by_role("button", name="Brush").click()
    drag(page, (10, 30), (50, 30))
    answered(page)
    assert mask_of(project)[29:32, 10:50].all()
    page.get_by_role("button", name="Box").click()
    drag(page, (5, 5), (25, 20))
    answered(page)
    np.testing.assert_allclose(page.evaluate("shown.box"), [5, 5, 25, 20], atol=0.2)
    says(page, "Saved: the mask covers")
    check_accessibility(page)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_it_can_be_used_by_keyboard_alone(open_window, project):
    page = open_window()
    keys = page.keyboard
    for key in ("Shift+ArrowLeft", "Shift+ArrowUp", "b", "]", " "):
        keys.press(key)
    answered(page)
    mask = mask_of(project)
    np.testing.assert_allclose(np.argwhere(mask).mean(0) + 0.5, [H / 2 - 1, W / 2 - 1], atol=0.6)
    assert mask.sum() == pytest.approx(np.pi * 4.5**2, rel=0.2)
    for key in ("e", "[", " "):
        keys.press(key)
    answered(page)
    assert 0 < mask_of(project).sum() < mask.sum()
    keys.press("u")
    answered(page)
    np.testing.assert_array_equal(mask_of(project), mask)
    for key in ("x", " ", "Shift+ArrowRight", "ArrowRight", "ArrowDown", " "):
        keys.press(key)
    answered(page)
    assert page.evaluate("shown.box")[0] == W / 2 - 1
    keys.press("o")
    keys.press("n")
    keys.press(" ")
    answered(page)
    assert [point[2] for point in page.evaluate("shown.points")] == [False]
    keys.press("Enter")
    answered(page)
    keys.press("0")
    says(page, "Saved: nothing here")
    assert not mask_of(project, "b").any()
    keys.press("Delete")
    says(page, "No mask yet")
    keys.press("PageUp")
    says(page, "Saved: the mask covers")
    assert page.evaluate("shown.stem") == "a"


def test_zoom_keeps_clicks_where_they_are_seen(open_window, project):
    page = open_window()
    page.mouse.move(*at(page, 45, 10))
    for _ in range(6):
        page.mouse.wheel(0, -100)
    until(page, "view.scale > 2 * canvas.width / 60")
    page.mouse.click(*at(page, 46.5, 11.5))
    answered(page)
    np.testing.assert_allclose(page.evaluate("shown.points[0]")[:2], [46.5, 11.5], atol=0.1)


def test_a_window_that_is_closed_loses_nothing_and_two_do_not_overwrite(open_window, project):
    one, two = open_window(), open_window()
    one.keyboard.press("b")
    one.mouse.click(*at(one, 10, 10))
    says(one, "Saved")
    mask = mask_of(project)
    two.keyboard.press("b")
    two.mouse.click(*at(two, 50, 30))
    two.get_by_role("alert").filter(has_text="has been changed elsewhere").wait_for(timeout=120_000)
    np.testing.assert_array_equal(mask_of(project), mask)
    one.close()
    two.get_by_role("button", name="Load the other one").click()
    says(two, "Saved")
    assert two.get_by_role("alert").is_hidden()
    two.mouse.click(*at(two, 50, 30))
    answered(two)
    assert (mask_of(project) & mask).sum() == mask.sum()
    assert mask_of(project)[30, 50]


@pytest.mark.parametrize("key", ["Enter", "PageDown"])
def test_a_broken_photograph_is_told_and_then_passed_over(open_window, project, photos, key):
    page = open_window()
    (photos / "images/b.png").write_bytes(b"no photograph")
    project.pixels.cache_clear()
    page.keyboard.press(key)
    page.get_by_role("alert").filter(has_text="cannot be read").wait_for(timeout=120_000)
    assert page.evaluate("shown.stem") == "a"
    page.keyboard.press(key)
    until(page, "shown.stem === 'c'")
    assert page.get_by_role("alert").is_hidden()


def test_what_is_done_before_the_answer_is_meant_for_the_photograph_that_was_seen(open_window, project):
    page = open_window()
    page.evaluate("() => { for (const _ of [1, 2]) DEEDS.next(); use([30, 20]); DEEDS.nothing(); }")
    answered(page)
    assert page.evaluate("shown.stem") == "b"
    assert project.masks.stems() == set()
    page.evaluate("() => { DEEDS.forward(); DEEDS.forward(); }")
    answered(page)
    assert page.evaluate("shown.stem") == "d"


@pytest.mark.parametrize("place", ["#picture", "button[data-do=next]"])
def test_a_held_enter_accepts_one_photograph(open_window, place):
    page = open_window()
    page.locator(place).focus()
    for _ in range(3):
        page.keyboard.down("Enter")
        answered(page)
    assert page.evaluate("shown.stem") == "b"
    page.keyboard.up("Enter")


def test_what_follows_a_stroke_before_its_answer_is_not_lost_nor_added_to_it(open_window, project):
    page = open_window()
    page.evaluate("() => { waiting = new Promise((go) => { window.goOn = go; }); }")
    page.keyboard.press("b")
    drag(page, (5, 10), (15, 10))
    page.mouse.click(*at(page, 40, 20), button="right")
    page.mouse.move(*at(page, 5, 30))
    page.mouse.down()
    page.evaluate("() => window.goOn()")
    until(page, "shown.edits === 2")
    page.mouse.move(*at(page, 15, 30), steps=4)
    page.mouse.up()
    answered(page)
    assert page.evaluate("shown.edits") == 3
    mask = mask_of(project)
    assert mask[[10, 30], 5:15].all()
    assert not mask[20].any()
