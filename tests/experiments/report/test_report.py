import json
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from alignsam_gym.errors import DataError
from alignsam_gym.experiments.report.__main__ import make_page
from alignsam_gym.experiments.reproduce.table_document import TableDocument
from alignsam_gym.result_table import ResultTable

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Checks that elements close in order; keeps their attributes and texts."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data.strip())

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def write_run(folder, seed, iou, episodes=15):
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(f"seed: {seed}\nepisodes: {episodes}\ndataset: {{name: toy}}\n")
    (folder / "versions.json").write_text(json.dumps({"torch": "2.9"}))
    summary = {"images": 3, "miou": iou, "miou_by_step": [0.5, iou], "foreground_rate": 0.3, "repeated": 0.0}
    means = {"over_images": {"iou": iou}, "over_pixels": {"iou": iou}}
    by_image = {"easy": 0.9, "<hard>": iou / 10, "middling": 0.5}
    strategies = {name: {**summary, "metrics": means} for name in ("agent", "random")}
    metrics = {"seed": seed, "table": ["iou"], "training_minutes": 1.5, "prompting": strategies}
    (folder / "metrics.json").write_text(json.dumps(metrics | {"iou_by_image": dict.fromkeys(strategies, by_image)}))
    cv2.imwrite(str(folder / "learning_curve.png"), np.zeros((4, 4, 3), np.uint8))


@pytest.fixture
def folder(tmp_path):
    for seed, iou in ((0, 0.6), (1, 0.8)):
        write_run(tmp_path / f"runs/default/seed={seed}", seed, iou)
    write_run(tmp_path / "runs/longer/seed=0", 0, 0.9, episodes=50)
    write_run(tmp_path / "runs/longer/seed=0/steps", 0, 0.1)  # an evaluation in the run's folder
    failed = tmp_path / "runs/broken/seed=0"
    failed.mkdir(parents=True)
    (failed / "overrides.json").write_text("[]")
    (failed / "log.txt").write_text("line\n" * 50 + "error: nothing <here>\n")
    main = ResultTable(["from", "", "x"], [["paper", "Ours", "68.47"]], "Of toys.", quoted=(0,))
    further = ResultTable(["", "here"], [["ours", "holds"]], "What is ahead:")
    TableDocument("Table 2: four", main, ["ours, seed 1: no <space> left"], [further]).write(tmp_path, "table2")
    cv2.imwrite(str(tmp_path / "table2.png"), np.zeros((4, 4, 3), np.uint8))
    return tmp_path


def test_the_page_is_whole_and_needs_nothing_else(folder):
    text = make_page([folder], "Runs & more", resamples=20)
    assert "holds" in text
    page = Page(text)
    assert "script" not in {tag for tag, _ in page.elements}
    for _, attributes in page.elements:
        for name in ("src", "href", "srcset", "data"):
            assert attributes.get(name, "#").startswith(("#", "data:image/"))
    assert "url(" not in text
    assert "@import" not in text
    anchors = {attributes["href"].removeprefix("#") for attributes in page.all("a")}
    assert anchors == {"runs", "paper", "results", "failures"}
    assert anchors <= {attributes.get("id") for _, attributes in page.elements}


def test_the_page_can_be_read_without_images(folder):
    page = Page(make_page([folder], "Runs", resamples=20))
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == 1
    assert all(attributes["alt"] for attributes in page.all("img"))
    assert len(page.all("img")) == 1 + 2 + 3  # the plot, a curve a configuration, a learning curve a run
    assert {attributes.get("scope") for attributes in page.all("th")} == {"col", "row"}


def test_the_page_tells_what_was_run_and_what_failed(folder):
    texts = Page(make_page([folder], "Runs", resamples=20)).texts
    assert "3 finished runs of 2 configurations, 1 that did not finish." in texts
    assert [text for text in texts if "episodes" in text] == ["episodes=15", "episodes=50"]
    assert "0.700" in texts  # the mean of both seeds
    assert texts[texts.index("<hard>") + 1] == "0.070"
    assert any("error: nothing <here>" in text and text.count("line") == 14 for text in texts)
    assert "68.47" in texts


def test_folders_may_be_relative_or_absolute(folder, monkeypatch):
    monkeypatch.chdir(folder)
    page = make_page([Path("runs/longer"), folder / "runs/default"], "Runs", resamples=20)
    assert "3 finished runs of 2 configurations" in page


def test_every_folder_needs_a_finished_run(folder, tmp_path):
    with pytest.raises(DataError, match=r"no metrics\.json below .*/runs/broken, .*/mistyped; is"):
        make_page([folder, folder / "runs/broken", folder / "mistyped"], "Runs", resamples=20)


def test_configurations_of_one_sweep_are_told_apart(tmp_path):
    for episodes in (15, 50):
        for seed in (0, 1):
            write_run(tmp_path / f"sweep/episodes={episodes}_seed={seed}", seed, 0.5, episodes)
    page = Page(make_page([tmp_path / "sweep"], "Runs", resamples=20))
    assert {"sweep, episodes=15", "sweep, episodes=50"} < set(page.texts)


def test_a_configuration_above_the_runs_hides_none(folder):
    (folder / "config.yaml").write_text("of: something else\n")
    assert "3 finished runs of 2 configurations" in make_page([folder], "Runs", resamples=20)


def test_figure_7_has_its_tables_wherever_the_reproduction_is(tmp_path):
    reproduction = tmp_path / "outputs/reproduce"
    write_run(reproduction / "runs/default/seed=0", 0, 0.5)
    table = ResultTable(["from", "5"], [["ours", "61.25"]])
    TableDocument("Figure 7, T", table, ["T=10, seed 1: no space"]).write(reproduction, "figure7_T")
    TableDocument("Table 9", table).write(reproduction, "table9")
    page = Page(make_page([tmp_path / "outputs"], "Runs", resamples=20))
    assert [text for text in page.texts if text in ("Table 9", "Figure 7, T", "61.25")] == [
        "Table 9", "61.25", "Figure 7, T", "61.25"
    ]  # fmt: skip
    assert "T=10, seed 1: no space" in page.texts


def test_torn_versions_are_told(folder):
    (folder / "runs/longer/seed=0/versions.json").write_text('{"torch": "2')
    with pytest.raises(DataError, match=r"longer/seed=0/versions\.json cannot be read .* delete it"):
        make_page([folder], "Runs", resamples=20)


def test_the_papers_rows_are_tinted_and_failed_cells_told(folder):
    page = Page(make_page([folder], "Runs", resamples=20))
    assert [attributes for attributes in page.all("tr") if attributes] == [{"class": "quoted"}]
    assert "ours, seed 1: no <space> left" in page.texts
    assert [text for text in page.texts if text in ("68.47", "What is ahead:")] == ["68.47", "What is ahead:"]


def test_a_torn_table_is_told(folder):
    (folder / "table2.json").write_text('{"title": "Table 2')
    with pytest.raises(DataError, match=r"table2\.json cannot be read .* reproduce that table again"):
        make_page([folder], "Runs", resamples=20)
