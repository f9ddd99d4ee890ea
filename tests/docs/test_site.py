import os
import re
import subprocess
import sys

import pytest

from tests.docs.pages import ROOT

LOADED = re.compile(r"<(?:script|img|link|iframe)\b[^>]*(?:src|href)=[\"']?((?:https?:)?//[^\"' >]+)")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_pages_load_nothing_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert pages
    for page in pages:
        assert not LOADED.findall(page.read_text("utf-8")), page


@pytest.mark.slow
def test_what_is_generated_is_there(site):
    environment = (site / "environment.html").read_text("utf-8")
    assert "<code>label_source</code>" in environment
    assert "autoreset_mode" in environment
    assert "<math" in (site / "method.html").read_text("utf-8")
    models = (site / "models.html").read_text("utf-8")
    assert 'id="what-the-models-have-seen"' in models
    assert "<code>clip=tiny</code>" in models
    commands = (site / "cli.html").read_text("utf-8")
    assert all(name in commands for name in ("reproduce", "baseline", "vit_b", "max_grad_norm"))
    encoding = (site / "api" / "alignsam_gym.foundation.encoding.html").read_text("utf-8")
    assert "EmbeddingStore" in encoding
    assert "<!--" not in re.sub(r"<!-- (?:[A-Z]|\$).*?-->", "", commands)


@pytest.mark.slow
def test_parameters_of_docstrings_are_tables(site):
    data = (site / "api" / "alignsam_gym.data.html").read_text("utf-8")
    assert re.search(r"Parameters:.*?<table>.*?<code>threshold</code>", data, re.DOTALL)
