import pytest

from tests.browsing import launch_chromium


@pytest.fixture(scope="module")
def chromium():
    """The Chromium that is here; each test opens pages of its own. Two drivers at once do not go together."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        browser = launch_chromium(driver)
        yield browser
        browser.close()
