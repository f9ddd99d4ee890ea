from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from alignsam_gym.demo.drawing import ALONE, ANSWERED, SIDE, TRUE, click_to_image, draw_image
from alignsam_gym.demo.images import DemoImage
from alignsam_gym.envs.prompting_session import Prediction
from alignsam_gym.errors import OptionError


def answer(points=(), labels=(), logits=None):
    logits = torch.full((8, 8), -1.0) if logits is None else logits
    return Prediction(np.array(points, np.float32).reshape(-1, 2), np.array(labels, int), logits, (8, 8))


@pytest.mark.parametrize(
    ("size", "expected"), [((50, 80), (400, 640)), ((3000, 1500), (640, 320)), ((1, 5000), (1, 640))]
)
def test_a_picture_fills_the_same_place_whatever_its_size(size, expected):
    drawn = draw_image(DemoImage("", np.zeros((*size, 3), np.uint8)), ANSWERED)
    assert (drawn.shape, drawn.dtype, max(drawn.shape)) == ((*expected, 3), np.uint8, SIDE)


def test_positive_and_negative_prompts_differ_without_colour(picture):
    """A square fills its corners, a disc does not."""
    grey = DemoImage("", np.full((100, 100, 3), 128, np.uint8))
    drawn = draw_image(grey, ALONE, answer([(20, 50), (80, 50)], [1, 0]), ["1", "2"])
    changed = (cv2.cvtColor(drawn, cv2.COLOR_RGB2GRAY) != 128).astype(int)
    disc, square = changed[:, : SIDE // 2], changed[:, SIDE // 2 :]
    for shape, fills in ((disc, np.pi / 4), (square, 1.0)):
        ys, xs = np.nonzero(shape)
        assert shape.sum() / (np.ptp(ys) + 1) / (np.ptp(xs) + 1) == pytest.approx(fills, abs=0.06)


def test_each_view_tints_what_it_says(picture):
    logits = torch.full((8, 8), -1.0)
    logits[:, 4:] = 1.0
    alone = draw_image(picture, ALONE, answer(logits=logits))
    tinted = (draw_image(picture, ANSWERED, answer(logits=logits)) != alone).any(-1)
    assert tinted[:, 330:].mean() > 0.95
    assert not tinted[:, :300].any()
    true = (draw_image(picture, TRUE, answer(logits=logits)) != alone).any(-1)
    truth = cv2.resize(picture.truth.astype(np.uint8), (640, 400), interpolation=cv2.INTER_NEAREST) > 0
    assert (true == truth).mean() > 0.97  # the outline and pixels of the tint's own colour differ


def test_ground_truth_that_there_is_not_cannot_be_draw(picture):
    with pytest.raises(OptionError, match=r"no ground truth for photo\.jpg"):
        draw_image(replace(picture, truth=None), TRUE)


def test_where_one_clicks_is_where_the_point_is_drawn(picture):
    x, y = click_to_image(picture, (480, 100))
    before = draw_image(picture, ALONE)
    changed = (draw_image(picture, ALONE, answer([(x, y)], [1]), ["a"]) != before).any(-1)
    assert np.argwhere(changed).mean(0) == pytest.approx([100, 480], abs=1.5)


def test_the_last_pixel_is_in_the_picture(picture):
    assert click_to_image(picture, (639, 399)) == pytest.approx((80, 50), abs=0.1)
    assert click_to_image(picture, (640, 400)) == (80, 50)


@pytest.mark.parametrize("corner", [(0, 0), (80, 0), (0, 50), (80, 50)])
def test_prompts_at_the_edge_are_seen_whole(picture, corner):
    plain = draw_image(picture, ALONE)
    areas = [
        (draw_image(picture, ALONE, answer([at], [0], None), ["1"]) != plain).any(-1).sum() for at in (corner, (40, 25))
    ]
    assert areas[0] == pytest.approx(areas[1], rel=0.04)
