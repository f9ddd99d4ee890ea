import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alignsam_gym.srm.segmentation_loss import dice_loss, segmentation_loss


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


def _loss_by_loops(logits, target, valid):
    entropy, dices = 0.0, []
    for z, t, w in zip(logits, target, valid, strict=True):
        overlap = total = 0.0
        for place in np.ndindex(z.shape):
            p = 1 / (1 + np.exp(-z[place]))
            entropy -= w[place] * (t[place] * np.log(p) + (1 - t[place]) * np.log(1 - p))
            overlap += p * w[place] * t[place] * w[place]
            total += p * w[place] + t[place] * w[place]
        dices.append(1 - (2 * overlap + 1) / (total + 1))
    return entropy / valid.sum() + np.mean(dices)


@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.booleans())
def test_the_loss_equals_a_loop(seed, count, with_void):
    rng = np.random.default_rng(seed)
    logits, target = rng.normal(0, 3, (count, 4, 5)), rng.random((count, 4, 5))
    valid = rng.choice([0.0, 0.5, 1.0], (count, 4, 5)) if with_void else np.ones((count, 4, 5))
    valid[0, 0, 0] = 1
    loss = segmentation_loss(*(torch.from_numpy(part) for part in (logits, target, valid)))
    assert float(loss) == pytest.approx(_loss_by_loops(logits, target, valid))


@pytest.fixture
def target():
    return (torch.randn(8, 8, 8) > 0.5).float()


def test_a_perfect_map_costs_nothing_and_a_wrong_one_much(target):
    valid = torch.ones_like(target)
    assert segmentation_loss((target * 2 - 1) * 40, target, valid) < 1e-3
    assert segmentation_loss((1 - target * 2) * 40, target, valid) > 10


def test_cells_without_a_label_have_no_influence(target):
    valid = torch.ones_like(target)
    valid[:, :3] = 0
    logits = torch.zeros_like(target, requires_grad=True)
    loss = segmentation_loss(logits, target, valid)
    loss.backward()
    assert (logits.grad[valid == 0] == 0).all()
    assert (logits.grad[valid == 1] != 0).all()
    flipped = torch.where(valid == 0, 1 - target, target)
    assert torch.equal(segmentation_loss(logits, flipped, valid), loss)


def test_samples_without_any_label_cost_nothing_and_teach_nothing(target):
    logits = torch.randn_like(target).requires_grad_()
    loss = segmentation_loss(logits, target, torch.zeros_like(target))
    loss.backward()
    assert loss == 0
    assert (logits.grad == 0).all()
