import yaml

import alignsam_gym
from tests.docs.pages import ROOT


def test_the_version_is_one():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == alignsam_gym.__version__
    assert f"\n## {alignsam_gym.__version__}" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_the_citation_has_what_its_format_asks_for():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert {"cff-version", "title", "message", "authors", "references"} <= citation.keys()
    for reference in citation["references"]:
        assert {"type", "title", "authors"} <= reference.keys()
        assert all({"family-names", "given-names"} == author.keys() for author in reference["authors"])


def test_hooks_are_pinned():
    for repo in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"]:
        assert repo["repo"] == "local" or repo["rev"].startswith("v")
