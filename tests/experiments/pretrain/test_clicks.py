import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from alignsam_gym.experiments.pretrain.clicks import hardest_click, sample_clicks
from alignsam_gym.foundation.sam.batched_decoder import PADDING

masks = arrays(bool, (7, 9))


def test_sampled_clicks_lie_in_the_region_and_bear_the_targets_label():
    torch.manual_seed(0)
    where = torch.rand(5, 16, 16) < 0.2
    target = torch.rand(5, 16, 16) < 0.5
    points, labels = sample_clicks(where, target, 50, pixel=2.0)
    for row in range(5):
        for (x, y), label in zip(points[row].tolist(), labels[row].tolist(), strict=True):
            cell = int(y // 2), int(x // 2)
            assert where[row][cell]
            assert label == int(target[row][cell])


def test_an_empty_region_gives_padding():
    nowhere = torch.zeros(2, 4, 4, dtype=torch.bool)
    _, labels = sample_clicks(nowhere, ~nowhere, 3, pixel=1.0)
    assert (labels == PADDING).all()


@given(prediction=masks, target=masks)
def test_the_hardest_click_is_the_deepest_error(prediction, target):
    """Against a loop over all pairs of pixels; outside the image there is no error."""
    if (prediction == target).all():
        return
    x, y, label = hardest_click(prediction, target)
    row, column = int(y), int(x)
    assert prediction[row, column] != target[row, column]
    assert label == int(target[row, column])

    def depth(row, column):
        region = (prediction != target) & (target == target[row, column])
        padded = np.pad(region, 1)
        ends = np.argwhere(~padded) - 1
        return np.sqrt(((ends - [row, column]) ** 2).sum(1)).min()

    deepest = max(depth(r, c) for r, c in np.argwhere(prediction != target))
    assert depth(row, column) == np.float32(deepest) or abs(depth(row, column) - deepest) < 1e-5


@given(st.integers(0, 6), st.integers(0, 8))
def test_a_single_wrong_pixel_is_clicked(row, column):
    target = np.zeros((7, 9), bool)
    target[row, column] = True
    assert hardest_click(np.zeros_like(target), target) == (column + 0.5, row + 0.5, 1)
    assert hardest_click(target, np.zeros_like(target)) == (column + 0.5, row + 0.5, 0)
