import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from alignsam_gym.transforms import (
    frame_to_image,
    frame_to_unit,
    image_to_frame,
    mask_from_logits,
    resize_image,
    resize_map,
    unit_to_frame,
    upsample_logits,
)
from tests.alignsam_gym.bilinear_reference import bilinear

sides = st.integers(1, 40)


@given(sides, sides, sides, sides)
def test_an_axis_that_shrinks_is_averaged_and_one_that_grows_interpolated(old_height, old_width, height, width):
    """Each axis alone, by OpenCV; levels are rounded once an axis."""
    image = np.random.default_rng(0).integers(0, 256, (old_height, old_width, 3)).astype(np.float32)
    ways = [
        cv2.INTER_AREA if new < old else cv2.INTER_LINEAR for new, old in ((height, old_height), (width, old_width))
    ]
    expected = cv2.resize(image, (old_width, height), interpolation=ways[0])
    expected = cv2.resize(expected, (width, height), interpolation=ways[1])
    np.testing.assert_allclose(resize_image(image, (height, width)), expected, atol=1e-2)


def test_an_image_of_the_size_is_as_it_was():
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    np.testing.assert_array_equal(resize_image(image, (30, 40)), image)


@pytest.mark.parametrize("shape", [(6, 8), (2, 6, 8), (2, 3, 6, 8)])
def test_a_smaller_map_has_the_means_of_its_cells(shape):
    maps = torch.rand(shape)
    expected = maps.unflatten(-1, (4, 2)).unflatten(-3, (3, 2)).mean((-1, -3))
    torch.testing.assert_close(resize_map(maps, (3, 4)), expected)
    assert resize_map(maps, (6, 8)) is maps


@pytest.mark.parametrize("antialias", [False, True])
def test_enlarging_a_map_is_bilinear(antialias):
    maps = np.random.default_rng(0).random((2, 3, 6, 5)).astype(np.float32)
    resized = resize_map(torch.from_numpy(maps), (16, 12), antialias)
    assert resized.shape == (2, 3, 16, 12)
    for item, channel, row, column in np.ndindex(*resized.shape):
        expected = bilinear(maps[item, channel], (column + 0.5) / 12, (row + 0.5) / 16)
        assert resized[item, channel, row, column] == pytest.approx(expected, abs=1e-6)


@settings(max_examples=30)
@given(
    maps=arrays(np.float32, (2, 6, 6), elements=st.floats(0, 1, width=32)),
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
)
def test_resized_maps_stay_in_bounds(maps, size):
    resized = resize_map(torch.from_numpy(maps), size, antialias=True)
    assert resized.shape == (2, *size)
    assert maps.min() - 1e-6 <= resized.min() <= resized.max() <= maps.max() + 1e-6


def test_upsampling_cuts_at_zero():
    logits = torch.full((4, 4), -1.0)
    logits[:, 2:] = 1.0
    mask = mask_from_logits(logits, (40, 60))
    assert mask.shape == (40, 60)
    np.testing.assert_array_equal(mask, np.tile(np.arange(60) >= 30, (40, 1)))
    assert torch.equal(upsample_logits(logits, (40, 60)) > 0, torch.from_numpy(mask))


def test_corners_are_corners_in_every_system():
    corners_frame = torch.tensor([[0.0, 0.0], [800.0, 800.0], [800.0, 0.0]])
    assert frame_to_unit(corners_frame, 800).tolist() == [[0, 0], [1, 1], [1, 0]]
    torch.testing.assert_close(
        frame_to_image(corners_frame, 800, (30, 70)), torch.tensor([[0.0, 0], [70, 30], [70, 0]])
    )


@given(st.integers(1, 5000), st.integers(1, 5000), st.floats(0, 1), st.floats(0, 1))
def test_points_come_back_from_another_system(height, width, x, y):
    points_px = torch.tensor([[x * width, y * height]], dtype=torch.float64)
    points_frame = image_to_frame(points_px, (height, width), 800)
    torch.testing.assert_close(frame_to_image(points_frame, 800, (height, width)), points_px)
    torch.testing.assert_close(unit_to_frame(frame_to_unit(points_frame, 800), 800), points_frame)
    assert points_frame.tolist() == [[pytest.approx(x * 800), pytest.approx(y * 800)]]
