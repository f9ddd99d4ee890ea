import base64
from dataclasses import replace
from unittest.mock import Mock
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from alignsam_gym.demo import words
from alignsam_gym.demo.drawing import LAYER_COLOURS
from alignsam_gym.demo.images import png
from alignsam_gym.demo.visit import Visit, add_point, prompt_to_end
from alignsam_gym.envs.prompting_session import Prediction, PromptMaps


@pytest.fixture
def visit(make_pointer, picture):
    return prompt_to_end(make_pointer(), picture, None)


def cells(html):
    """The table's cells as they would be read out."""
    root = ElementTree.fromstring(html)
    return [["".join(cell.itertext()) for cell in row] for row in root.iter("tr")]


def test_the_table_has_a_row_for_each_prompt(visit):
    prediction = visit.session.prediction(step=2)
    head, *rows = cells(words.table(visit, 2, prediction))
    assert head == ["Prompt", "x", "y", "Label", "Mask covers", "IoU", "Reward"]
    assert [row[0] for row in rows] == ["0", "0", "1", "2"]
    for row, point, label in zip(rows, prediction.points, prediction.labels, strict=True):
        assert [int(row[1]), int(row[2])] == np.round(point).astype(int).tolist()
        assert row[3] == ("+ positive" if label else "− negative")
    assert rows[0][4:] == ["", "", ""]  # SAM answers the pair at once
    for step, (row, measured) in enumerate(zip(rows[1:], visit.measured, strict=False)):
        answer = visit.session.prediction(step=step)
        assert float(row[5]) == pytest.approx(measured.iou, abs=5e-4)
        assert row[6] == {None: "", True: "+1", False: "−1"}[measured.hit]
        assert float(row[4].rstrip("%")) == pytest.approx(100 * (answer.logits > 0).float().mean().item(), abs=0.06)


def test_points_of_ones_own_end_the_table(visit):
    add_point(visit, 3, 4, False)
    add_point(visit, 5, 6, True)
    prediction = visit.session.prediction(step=1)
    *_, before, a, b = cells(words.table(visit, 1, prediction))
    assert before[0] == "1"
    assert all(before)
    assert a == ["a", "3", "4", "− negative", "", "", ""]
    assert b[:4] == ["b", "5", "6", "+ positive"]
    assert all(b[4:6])
    assert "2 points of yours" in words.summary(visit, 1, prediction)


def test_without_ground_truth_there_are_no_figures_of_it(make_pointer, picture):
    visit = prompt_to_end(make_pointer(), replace(picture, truth=None), None)
    prediction = visit.session.prediction(step=3)
    head, *_ = cells(words.table(visit, 3, prediction))
    assert head == ["Prompt", "x", "y", "Label", "Mask covers"]
    assert "IoU" not in words.summary(visit, 3, prediction)


def test_the_summary_counts_what_the_picture_shows(picture):
    logits = torch.full((4, 4), -1.0)
    logits[0] = 1.0
    prediction = Prediction(np.zeros((2, 2)), np.array([1, 0]), logits, picture.size)
    session = Mock(steps=0, user_points=Mock(return_value=()))
    visit = Visit("photos/agent", replace(picture, truth=None), None, session, [])
    assert words.summary(visit, 0, prediction) == (
        "photos/agent: t = 0 of 0; 1 positive and 1 negative prompts in all; the mask covers 25.0% of the image."
    )


def test_the_link_holds_the_mask(visit, picture):
    file = png(visit.session.prediction().mask)
    link = ElementTree.fromstring(words.download_link(picture, file))
    assert link.get("download") == "photo-mask.png"
    assert base64.b64decode(link.get("href").partition("base64,")[2]) == file
    assert "80 × 50" in link.text


def test_the_legend_tells_which_layers_there_are_not(visit, picture):
    def told(visits, image=picture):
        root = ElementTree.fromstring(words.legend(list(LAYER_COLOURS), image, visits))
        return ["".join(item.itertext()) for item in root.iter("li")]

    guided, line = Mock(pointer="clip"), ", from 0 to 1; the line is at 0.5"
    srm_map, clip_map = f"SRM's map{line}", f"CLIP's map{line}"
    guided.session.maps.return_value = PromptMaps(None, np.ones((4, 4)))
    visit.session.srm.learned = True
    prompts = ["Positive prompt", "Negative prompt"]
    assert told([]) == ["Ground truth"]
    assert told([], replace(picture, truth=None)) == ["Ground truth (there is none)"]
    assert told([visit]) == [
        "Answer",
        f"SRM's map{line}",
        f"CLIP's map{line} (there is none)",
        "Ground truth",
        *prompts,
    ]
    assert told([visit, guided])[1:3] == [f"{srm_map} (clip has none)", f"{clip_map} (run has none)"]


@pytest.mark.parametrize("make", [words.notice, words.status])
def test_names_of_files_are_no_markup(make, picture):
    nasty = '<img src=x onerror="alert(1)">'
    assert nasty in "".join(ElementTree.fromstring(make(nasty)).itertext())
    link = ElementTree.fromstring(words.download_link(replace(picture, name='"><script>.png'), b""))
    assert link.get("download") == '"><script>-mask.png'
