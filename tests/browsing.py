"""What the browser tests of both pages share."""

import shutil

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def launch_chromium(driver):
    """Launch the Chromium that is here, or skip the test."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip("there is no Chromium")
    return driver.chromium.launch(executable_path=browser, args=["--no-sandbox"])  # containers forbid its own


def check_accessibility(page):
    """Whoever cannot see the page, or has no mouse, can use it, as far as axe-core tells (WCAG 2.2, A and AA)."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    found = axe.Axe().run(page, options={"runOnly": {"type": "tag", "values": tags}}).response
    assert len(found["passes"]) > 10
    assert [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found["violations"]] == []
