import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alignsam_gym.metrics.logits_iou import logits_iou


@given(st.integers(0, 2**32 - 1))
def test_iou_counts_labelled_pixels(seed):
    """Of cells of four pixels, so many of which have a label."""
    rng = np.random.default_rng(seed)
    logits, truth, labelled = rng.normal(size=(3, 4, 5)), rng.random((3, 4, 5)), rng.integers(0, 5, (3, 4, 5))
    found = logits_iou(*(torch.from_numpy(part).float() for part in (logits, truth, labelled / 4)))
    for answer, target, pixels, value in zip(logits > 0, truth > 0.5, labelled, found, strict=True):
        both, either = pixels[answer & target].sum(), pixels[answer | target].sum()
        assert float(value) == pytest.approx(both / either if either else 1)


def test_nothing_found_where_nothing_is_agrees():
    assert logits_iou(-torch.ones(1, 2, 2), torch.zeros(1, 2, 2), torch.ones(1, 2, 2)).item() == 1
