import numpy as np
import pytest
import torch

from alignsam_gym.srm.segmentation_loss import dice_loss


def draw(*shape):
    rng = np.random.default_rng(0)
    return rng.random(shape), (rng.random(shape) > 0.5).astype(float)


def test_dice_is_that_of_each_map():
    p, t = draw(3, 2, 4, 5)
    losses = dice_loss(torch.from_numpy(p), torch.from_numpy(t))
    assert losses.shape == (3, 2)
    for place in np.ndindex(3, 2):
        overlap = size = 0.0
        for pixel in np.ndindex(4, 5):
            overlap += p[place][pixel] * t[place][pixel]
            size += p[place][pixel] + t[place][pixel]
        assert losses[place] == pytest.approx(1 - (2 * overlap + 1) / (size + 1))


def test_dice_of_everything_at_once_may_square_its_denominator():
    p, t = draw(3, 4, 5)
    expected = 1 - (2 * (p * t).sum() + 1e-5) / ((p**2).sum() + (t**2).sum() + 1e-5)
    loss = dice_loss(torch.from_numpy(p), torch.from_numpy(t), dim=None, smoothing=1e-5, squared=True)
    assert loss == pytest.approx(expected)


def test_two_empty_maps_agree():
    nothing = torch.zeros(1, 4, 5)
    assert dice_loss(nothing, nothing) == 0
