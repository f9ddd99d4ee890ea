import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays

from alignsam_gym.data.mask_outlines import mask_outlines
from alignsam_gym.data.region_drawing import draw_polygons


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)))
def test_what_is_traced_is_filled_as_the_same_mask(mask):
    """With holes in holes and parts that meet at corners, and as many polygons as OpenCV counts parts."""
    outlines = mask_outlines(mask)
    assert len(outlines) == cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[0] - 1
    if mask.any():
        np.testing.assert_array_equal(draw_polygons(outlines, mask.shape[::-1]), mask)


def test_a_square_has_its_pixels_corners():
    mask = np.zeros((5, 6), bool)
    mask[1:3, 2:5] = True
    [outline] = mask_outlines(mask)
    assert sorted(map(tuple, outline)) == [(2, 1), (2, 3), (5, 1), (5, 3)]


@pytest.mark.parametrize("rule", ["even-odd", "nonzero"])
def test_a_hole_is_empty_by_either_rule_of_filling(rule):
    """By crossings, and by windings, as browsers and fonts fill."""
    mask = np.zeros((9, 9), bool)
    mask[1:8, 1:8] = True
    mask[3:6, 3:6] = False
    [outline] = mask_outlines(mask)
    ends = np.roll(outline, -1, axis=0)
    y, x = np.mgrid[:9, :9] + 0.501  # where no point of the outline is as high
    windings = np.zeros((9, 9), int)  # the directions of the edges that a ray to the right crosses
    for (x0, y0), (x1, y1) in zip(outline, ends, strict=True):
        if y0 != y1:
            within = (min(y0, y1) < y) & (y < max(y0, y1))
            windings += (within & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))) * int(np.sign(y1 - y0))
    np.testing.assert_array_equal(windings % 2 == 1 if rule == "even-odd" else windings != 0, mask)
