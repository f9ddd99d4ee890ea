from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from alignsam_gym.demo.drawing import (
    ANSWER,
    CLIP_MAP,
    LAYER_COLOURS,
    SIDE,
    SRM_MAP,
    TRUTH,
    click_to_image,
    draw_image,
    layers_of,
)
from alignsam_gym.demo.images import DemoImage
from alignsam_gym.envs.prompting_session import Prediction, PromptMaps

ALONE = ()


def answer(points=(), labels=(), logits=None):
    logits = torch.full((8, 8), -1.0) if logits is None else logits
    return Prediction(np.array(points, np.float32).reshape(-1, 2), np.array(labels, int), logits, (8, 8))


@pytest.mark.parametrize(
    ("size", "expected"), [((50, 80), (400, 640)), ((3000, 1500), (640, 320)), ((1, 5000), (1, 640))]
)
def test_a_picture_fills_the_same_place_whatever_its_size(size, expected):
    drawn = draw_image(DemoImage("", np.zeros((*size, 3), np.uint8)), [ANSWER])
    assert (drawn.shape, drawn.dtype, max(drawn.shape)) == ((*expected, 3), np.uint8, SIDE)


def test_positive_and_negative_prompts_differ_without_colour(picture):
    """A square fills its corners, a disc does not."""
    grey = DemoImage("", np.full((100, 100, 3), 128, np.uint8))
    drawn = draw_image(grey, ALONE, answer([(20, 50), (80, 50)], [1, 0]), names=["1", "2"])
    changed = (cv2.cvtColor(drawn, cv2.COLOR_RGB2GRAY) != 128).astype(int)
    disc, square = changed[:, : SIDE // 2], changed[:, SIDE // 2 :]
    for shape, fills in ((disc, np.pi / 4), (square, 1.0)):
        ys, xs = np.nonzero(shape)
        assert shape.sum() / (np.ptp(ys) + 1) / (np.ptp(xs) + 1) == pytest.approx(fills, abs=0.06)


def test_each_layer_tints_what_it_says(picture):
    logits = torch.full((8, 8), -1.0)
    logits[:, 4:] = 1.0
    alone = draw_image(picture, ALONE, answer(logits=logits))
    tinted = (draw_image(picture, [ANSWER], answer(logits=logits)) != alone).any(-1)
    assert tinted[:, 330:].mean() > 0.95
    assert not tinted[:, :300].any()
    true = (draw_image(picture, [TRUTH], answer(logits=logits)) != alone).any(-1)
    truth = cv2.resize(picture.truth.astype(np.uint8), (640, 400), interpolation=cv2.INTER_NEAREST) > 0
    assert (true == truth).mean() > 0.97  # the outline and pixels of the tint's own colour differ


@pytest.mark.parametrize("layer", [SRM_MAP, CLIP_MAP])
def test_a_map_tints_the_more_the_higher_it_is(layer):
    grey = DemoImage("", np.full((100, 100, 3), 128, np.uint8))
    values = np.repeat(np.linspace(0, 1, 9, dtype=np.float32)[None], 9, axis=0)
    drawn = draw_image(grey, [layer], maps=PromptMaps(values, values)).astype(float)
    to_colour = np.abs(drawn - LAYER_COLOURS[layer]).sum(-1)[SIDE // 2]
    assert to_colour[0] == np.abs(128.0 - np.array(LAYER_COLOURS[layer])).sum()
    away_from_the_line = np.r_[0 : SIDE // 2 - 10, SIDE // 2 + 10 : SIDE]
    assert (np.diff(to_colour[away_from_the_line]) <= 2).all()  # rounded
    assert to_colour[-1] < 0.25 * to_colour[0]


def test_over_a_map_the_answer_is_an_outline(picture):
    logits = torch.full((8, 8), -1.0)
    logits[:, 4:] = 1.0
    maps = PromptMaps(np.zeros((4, 4), np.float32), None)
    outlined = (draw_image(picture, [ANSWER, SRM_MAP], answer(logits=logits), maps) != draw_image(picture, ALONE)).any(
        -1
    )
    assert not outlined[50:350, 340:600].any()
    assert outlined[:, 310:330].any()


def test_layers_that_there_are_not_are_left_out(picture):
    without = replace(picture, truth=None)
    assert layers_of(picture, None) == [TRUTH]
    assert layers_of(without, PromptMaps(np.ones((4, 4), np.float32), None)) == [ANSWER, SRM_MAP]
    np.testing.assert_array_equal(draw_image(without, LAYER_COLOURS), draw_image(without, ALONE))


def test_where_one_clicks_is_where_the_point_is_drawn(picture):
    x, y = click_to_image(picture, (480, 100))
    before = draw_image(picture, ALONE)
    changed = (draw_image(picture, ALONE, answer([(x, y)], [1]), names=["a"]) != before).any(-1)
    assert np.argwhere(changed).mean(0) == pytest.approx([100, 480], abs=1.5)


def test_the_last_pixel_is_in_the_picture(picture):
    assert click_to_image(picture, (639, 399)) == pytest.approx((80, 50), abs=0.1)
    assert click_to_image(picture, (640, 400)) == (80, 50)


@pytest.mark.parametrize("corner", [(0, 0), (80, 0), (0, 50), (80, 50)])
def test_prompts_at_the_edge_are_seen_whole(picture, corner):
    plain = draw_image(picture, ALONE)
    areas = [
        (draw_image(picture, ALONE, answer([at], [0], None), names=["1"]) != plain).any(-1).sum()
        for at in (corner, (40, 25))
    ]
    assert areas[0] == pytest.approx(areas[1], rel=0.04)
