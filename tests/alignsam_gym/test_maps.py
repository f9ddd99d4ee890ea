import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alignsam_gym.maps import iou


@given(st.integers(0, 2**32 - 1))
def test_iou_counts_labelled_pixels(seed):
    rng = np.random.default_rng(seed)
    logits, truth, scored = rng.normal(size=(3, 4, 5)), rng.random((3, 4, 5)), rng.random((3, 4, 5)) > 0.3
    found = iou(*(torch.from_numpy(part).float() for part in (logits, truth, scored)))
    for answer, target, pixels, value in zip(logits > 0, truth > 0.5, scored, found, strict=True):
        ours, theirs = ({*zip(*np.nonzero(mask & pixels), strict=True)} for mask in (answer, target))
        assert float(value) == pytest.approx(len(ours & theirs) / len(ours | theirs) if ours | theirs else 1)


def test_nothing_found_where_nothing_is_agrees():
    assert iou(-torch.ones(1, 2, 2), torch.zeros(1, 2, 2), torch.ones(1, 2, 2)).item() == 1
