import numpy as np
import pytest
import torch
from segment_anything import SamPredictor

from alignsam_gym.envs.prompting_session import UserPoint
from alignsam_gym.foundation.encoding.embedding_store import RecentStore
from alignsam_gym.labelling.clicked_sam import Box, ClickedSam, clean_mask, inner_point

H, W = 40, 60
POINTS = [UserPoint(10, 20, True), UserPoint(50.5, 3, False), UserPoint(31, 39, True)]
BOX = Box(5, 8, 44, 30)


@pytest.fixture
def sam(toy_model):
    return ClickedSam(toy_model, RecentStore())


@pytest.fixture
def encoding(sam):
    return sam.encode(np.random.default_rng(0).integers(0, 256, (H, W, 3), dtype=np.uint8))


def predicted(sam, encoding, points, box, before, multimask):
    """What segment_anything answers, with the prompts in pixels of the encoder's input."""
    predictor = SamPredictor(sam.model.sam)
    side = sam.model.input_size
    predictor.features, predictor.is_image_set = encoding, True
    predictor.original_size = predictor.input_size = (side, side)
    scale = np.array([side / W, side / H])
    return predictor.predict(
        np.array([point[:2] for point in points]) * scale if points else None,
        np.array([point.positive for point in points], int) if points else None,
        None if box is None else np.concatenate([np.array(box[:2]) * scale, np.array(box[2:]) * scale]),
        None if before is None else before[None].numpy(),
        multimask_output=multimask,
    )


@pytest.mark.parametrize(("box", "count"), [(None, 2), (None, 3), (BOX, 0), (BOX, 1), (BOX, 3)])
@pytest.mark.parametrize("goes_on", [False, True])
def test_points_boxes_and_earlier_answers_are_those_of_sam_predictor(sam, encoding, box, count, goes_on):
    before = torch.randn(32, 32) if goes_on else None
    *_, expected = predicted(sam, encoding, POINTS[:count], box, before, multimask=False)
    answer = sam.answer(encoding, (H, W), POINTS[:count], box, before)
    np.testing.assert_allclose(answer.numpy(), expected[0], atol=1e-4)


def test_a_first_click_takes_the_best_of_three(sam, encoding):
    _, quality, expected = predicted(sam, encoding, POINTS[:1], None, None, multimask=True)
    answer = sam.answer(encoding, (H, W), POINTS[:1])
    np.testing.assert_allclose(answer.numpy(), expected[quality.argmax()], atol=1e-4)


def test_a_given_mask_becomes_logits_of_that_mask(sam):
    mask = np.zeros((64, 64), bool)
    mask[16:40, 20:60] = True
    logits = sam.as_logits(mask)
    assert logits.shape == (32, 32)
    np.testing.assert_array_equal(clean_mask(logits, (64, 64)), mask)


def test_corners_of_a_box_may_be_given_in_any_order():
    assert Box.between((44, 8), (5, 30)) == Box.between((5, 30), (44, 8)) == BOX


def test_small_islands_and_holes_are_dropped_but_not_the_only_one():
    logits = torch.full((100, 100), -1.0)
    logits[20:60, 20:60] = 1
    expected = logits > 0
    logits[30:33, 30:33], logits[90:93, 90:93] = -1, 1
    np.testing.assert_array_equal(clean_mask(logits, (100, 100)), expected)
    logits = torch.full((100, 100), -1.0)
    logits[90:93, 90:93] = 1
    assert clean_mask(logits, (100, 100)).sum() == 9


@pytest.mark.parametrize("negatives", [[], [UserPoint(20.5, 20.5, False)], [UserPoint(60, 40, False)]])
def test_the_inner_point_is_as_deep_in_the_mask_as_can_be_and_away_from_negative_points(negatives):
    mask = np.zeros((H, W), bool)
    mask[10:31, 10:31] = mask[35:, 50:] = True
    x, y, positive = inner_point(mask, [UserPoint(20.5, 5.5, True), *negatives])
    outside = np.argwhere(np.pad(~mask, 1, constant_values=True)) - 1.0
    outside = [*outside, *([int(p.y_px), int(p.x_px)] for p in negatives)]
    depths = {(i, j): np.hypot(*(np.array([i, j]) - outside).T).min() for i, j in np.argwhere(mask)}
    assert positive
    assert depths[int(y), int(x)] == pytest.approx(max(depths.values()), abs=1e-3)
    assert (x % 1, y % 1) == (0.5, 0.5)
