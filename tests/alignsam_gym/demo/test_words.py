import base64
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from alignsam_gym.demo import words
from alignsam_gym.demo.images import png
from alignsam_gym.demo.session import Answer, OwnPoint, Session, corrected, mask, run_episode


@pytest.fixture
def session(make_pointer, picture):
    return run_episode(make_pointer(), picture, None)


def cells(html):
    """The table's cells as they would be read out."""
    root = ElementTree.fromstring(html)
    return [["".join(cell.itertext()) for cell in row] for row in root.iter("tr")]


def test_the_table_has_a_row_for_each_prompt(session, picture):
    head, *rows = cells(words.table(session, 2, session.answers[2]))
    assert head == ["Prompt", "x", "y", "Label", "Mask covers", "IoU", "Reward"]
    assert [row[0] for row in rows] == ["0", "0", "1", "2"]
    for row, point, label in zip(rows, session.answers[2].points, session.answers[2].labels, strict=True):
        assert [int(row[1]), int(row[2])] == np.round(point).astype(int).tolist()
        assert row[3] == ("+ positive" if label else "− negative")
    assert rows[0][4:] == ["", "", ""]  # SAM answers the pair at once
    for row, iou, answer in zip(rows[1:], session.ious, session.answers, strict=False):
        assert float(row[5]) == pytest.approx(iou, abs=5e-4)
        assert row[6] == {None: "", True: "+1", False: "−1"}[answer.hit]
        assert float(row[4].rstrip("%")) == pytest.approx(100 * (answer.logits > 0).float().mean().item(), abs=0.06)


def test_points_of_ones_own_end_the_table(session):
    answer = corrected(session, 1, [OwnPoint(3, 4, False), OwnPoint(5, 6, True)])
    *_, a, b = cells(words.table(session, 1, answer))
    assert a == ["a", "3", "4", "− negative", "", "", ""]
    assert b[:4] == ["b", "5", "6", "+ positive"]
    assert all(b[4:6])
    assert "2 points of yours" in words.summary(session, 1, answer)


def test_without_ground_truth_there_are_no_figures_of_it(make_pointer, picture):
    session = run_episode(make_pointer(), replace(picture, truth=None), None)
    head, *_ = cells(words.table(session, 3, session.answers[3]))
    assert head == ["Prompt", "x", "y", "Label", "Mask covers"]
    assert "IoU" not in words.summary(session, 3, session.answers[3])


def test_the_summary_counts_what_the_picture_shows(picture):
    logits = torch.full((4, 4), -1.0)
    logits[0] = 1.0
    answers = (Answer(np.zeros((2, 2)), np.array([1, 0]), logits),)
    session = Session(replace(picture, truth=None), None, answers, (None,), None)
    assert words.summary(session, 0, answers[0]) == (
        "t = 0 of 0; 1 positive and 1 negative prompts in all; SAM's mask covers 25.0% of the image."
    )


def test_the_link_holds_the_mask(session, picture):
    file = png(mask(picture, session.answers[-1]))
    link = ElementTree.fromstring(words.download(picture, file))
    assert link.get("download") == "photo-mask.png"
    assert base64.b64decode(link.get("href").partition("base64,")[2]) == file
    assert "80 × 50" in link.text


@pytest.mark.parametrize("make", [words.notice, words.status])
def test_names_of_files_are_no_markup(make, picture):
    nasty = '<img src=x onerror="alert(1)">'
    assert nasty in "".join(ElementTree.fromstring(make(nasty)).itertext())
    link = ElementTree.fromstring(words.download(replace(picture, name='"><script>.png'), b""))
    assert link.get("download") == '"><script>-mask.png'
