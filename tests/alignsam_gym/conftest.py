import pytest

from tests.browsing import launch_chromium


@pytest.fixture(scope="session")
def chromium():
    """The Chromium that is here; each test opens pages of its own."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        browser = launch_chromium(driver)
        yield browser
        browser.close()
