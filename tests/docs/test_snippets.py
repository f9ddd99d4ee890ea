"""Python in the documentation runs, with the toy SAM in the place of any that it loads by name."""

import pytest
from PIL import Image

from alignsam_gym.agents import vec_env  # noqa: F401  # SB3 takes seconds to import, and its time is no snippet's
from alignsam_gym.agents.bundle import export
from alignsam_gym.baselines import BASELINES
from alignsam_gym.data import DATASETS
from tests.docs.pages import PAGES, blocks, name_of


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name_of)
def test_snippets_run_one_after_the_other(page, toy_sam, make_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    export(make_run(), tmp_path / "agent.alignsam")
    Image.new("RGB", (80, 60)).save("photo.jpg")
    for registry in (DATASETS, BASELINES):  # what a page adds is gone after it
        for name in registry:
            monkeypatch.setitem(registry, name, registry[name])
    names = {"__name__": "snippet"}
    for number, block in enumerate(blocks(page, "python"), start=1):
        exec(compile(block, f"{name_of(page)}, block {number}", "exec"), names)
