import numpy as np

from alignsam_gym.data.stored_mask import resize_nearest
from alignsam_gym.transforms import resize_image


def test_a_pixel_of_a_resized_mask_is_one_of_the_old():
    mask = np.random.default_rng(0).random((30, 40)) > 0.5
    np.testing.assert_array_equal(resize_nearest(mask, (60, 80)), mask.repeat(2, 0).repeat(2, 1))
    np.testing.assert_array_equal(resize_nearest(mask, (10, 20)), mask[1::3, 1::2])
    np.testing.assert_array_equal(resize_nearest(mask, (6, 8)), mask[2::5, 2::5])


def test_a_smaller_mask_lies_where_its_smaller_image_lies():
    """The upper left pixels would be half a new pixel away."""
    mask = np.zeros((40, 40), bool)
    mask[10:30, 10:30] = True
    np.testing.assert_array_equal(resize_nearest(mask, (5, 5)), resize_image(mask.astype(np.float32), (5, 5)) > 0.5)
    np.testing.assert_array_equal(resize_nearest(mask, (5, 5)), resize_nearest(mask[::-1, ::-1], (5, 5))[::-1, ::-1])


def test_a_mask_may_be_of_any_width():
    """OpenCV's exact nearest neighbour crashes from 32,768 on."""
    mask = np.zeros((1, 70000), bool)
    mask[:, 35000:] = True
    np.testing.assert_array_equal(resize_nearest(mask, (1, 10))[0], np.arange(10) >= 5)
