"""Links and file names that ``mkdocs build --strict`` does not check."""

import re

import pytest

from tests.docs.pages import PAGES, ROOT, name_of

LINK = re.compile(r"\[[^\]]*\]\((?!https?:)([^)#]*)(#[^)]*)?\)")
FILE = re.compile(r"`((?:agents|alignsam_gym|conf|docs|examples|experiments|tests)/[\w./-]+)`")

MADE_BY_THE_READER = {"conf/dataset/discs.yaml", "conf/method/bright.yaml"}


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")), ids=name_of)
def test_links_lead_somewhere(page):
    for target, anchor in LINK.findall(page.read_text("utf-8")):
        file = ROOT / target if target else page
        assert file.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", file.read_text("utf-8"), re.MULTILINE)
            assert anchor[1:] in {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_that_a_page_names_exist(page):
    named = set(FILE.findall(page.read_text("utf-8"))) - MADE_BY_THE_READER
    assert not [name for name in named if not (ROOT / name).exists()]


def test_every_test_that_the_page_on_reliability_names_exists():
    page = (ROOT / "docs/reliability.md").read_text("utf-8")
    named = set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page))
    assert len(named) > 15
    for file, name in named:
        assert f"def {name}(" in (ROOT / file).read_text("utf-8"), name
