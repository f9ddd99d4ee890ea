import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from alignsam_gym.metrics import PromptingScores, overlap

masks = arrays(bool, (4, 5))


@given(masks, masks, st.none() | masks)
def test_overlap_counts_like_a_loop_over_pixels(answer, truth, void):
    both = either = 0
    for place in np.ndindex(answer.shape):
        if void is not None and void[place]:
            continue
        both += answer[place] and truth[place]
        either += answer[place] or truth[place]
    assert overlap(answer, truth, void) == (both, either)


@given(masks, masks)
def test_overlap_is_symmetric_and_full_only_for_equal_masks(answer, truth):
    both, either = overlap(answer, truth)
    assert (both, either) == overlap(truth, answer)
    assert (both == either) == np.array_equal(answer, truth)


def _scores(overlaps: list[list[tuple[int, int]]]) -> PromptingScores:
    steps = len(overlaps[0]) - 1
    return PromptingScores(
        ids=[str(i) for i in range(len(overlaps))],
        overlaps=[np.array(one) for one in overlaps],
        hits=[np.zeros(steps, bool) for _ in overlaps],
        repeats=[np.zeros(steps, bool) for _ in overlaps],
    )


pairs = st.integers(0, 50).flatmap(lambda either: st.tuples(st.integers(0, either), st.just(either)))


@given(st.integers(1, 3).flatmap(lambda n: st.lists(st.lists(pairs, min_size=n, max_size=n), min_size=1, max_size=4)))
def test_ious_divide_pair_by_pair_and_two_empty_masks_agree(overlaps):
    ious = _scores(overlaps).ious()
    assert ious.shape == (len(overlaps), len(overlaps[0]))
    for i, image in enumerate(overlaps):
        for t, (both, either) in enumerate(image):
            assert ious[i, t] == pytest.approx(both / either if either else 1.0)


def test_summary_tells_the_mean_over_images_from_the_pooled_one():
    scores = _scores([[(0, 10), (10, 10)], [(0, 90), (45, 90)]])
    scores.hits = [np.array([True]), np.array([False])]
    scores.repeats = [np.array([False]), np.array([False])]
    summary = scores.summary()
    assert summary == {
        "images": 2,
        "miou": 0.75,
        "miou_by_step": [0.0, 0.75],
        "iou_pooled_over_pixels": 0.55,
        "foreground_rate": 0.5,
        "repeated": 0.0,
    }
    assert json.loads(json.dumps(summary)) == summary
