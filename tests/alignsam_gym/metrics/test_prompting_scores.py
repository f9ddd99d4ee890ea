import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from alignsam_gym.metrics import PromptedImage, PromptingScores, overlap, score_mask

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


def _image(name, answers, truth, hits, repeats):
    """An image whose answers, one for each number of prompts, are compared with `truth`."""
    overlaps = np.array([overlap(answer, truth) for answer in answers])
    return PromptedImage(name, None, overlaps, np.array(hits), np.array(repeats), score_mask(answers[-1], truth))


def _first(count, of):
    return (np.arange(of) < count)[None]


def test_summary_tells_the_mean_over_images_from_the_pooled_one():
    scores = PromptingScores()
    scores.add(_image("a", [_first(0, 100), _first(10, 100)], _first(10, 100), [True], [False]))
    scores.add(_image("b", [_first(0, 100), _first(45, 100)], _first(90, 100), [False], [False]))
    summary = scores.summary()
    assert summary.pop("metrics") == scores.totals.summary()
    assert summary == {
        "images": 2,
        "miou": 0.75,
        "miou_by_step": [0.0, 0.75],
        "iou_pooled_over_pixels": 0.55,
        "foreground_rate": 0.5,
        "repeated": 0.0,
    }
    assert scores.ids == ["a", "b"]


@given(st.lists(st.tuples(masks, masks, masks, arrays(bool, 1), arrays(bool, 1)), min_size=1, max_size=4))
def test_ious_and_rates_are_means_over_images(images):
    scores = PromptingScores()
    for i, (before, after, truth, hits, repeats) in enumerate(images):
        scores.add(_image(str(i), [before, after], truth, hits, repeats))
    ious = scores.ious()
    for i, (before, after, truth, _, _) in enumerate(images):
        for t, answer in enumerate((before, after)):
            both, either = overlap(answer, truth)
            assert ious[i, t] == pytest.approx(both / either if either else 1.0)
    summary = scores.summary()
    assert summary["miou"] == pytest.approx(summary["metrics"]["over_images"]["iou"])
    assert summary["foreground_rate"] == pytest.approx(np.mean([hits for *_, hits, _ in images]))
    assert summary["repeated"] == pytest.approx(np.mean([repeats for *_, repeats in images]))


@given(st.lists(st.tuples(st.sampled_from("ab"), masks, masks, masks), min_size=2, max_size=5))
def test_a_categorys_iou_at_a_step_is_that_of_its_pixels_together(images):
    scores = PromptingScores()
    pixels = {}
    for i, (category, before, after, truth) in enumerate(images):
        overlaps = np.array([overlap(answer, truth) for answer in (before, after)])
        measured = score_mask(after, truth)
        scores.add(PromptedImage(str(i), category, overlaps, np.array([True]), np.array([False]), measured))
        pixels.setdefault(category, []).append((before, after, truth))
    summary = scores.summary()
    if len(pixels) == 1:
        assert "iou_by_category_by_step" not in summary
        return
    for category, found in pixels.items():
        before, after, truth = (np.concatenate(each) for each in zip(*found, strict=True))
        for answer, metric in zip((before, after), summary["iou_by_category_by_step"][category], strict=True):
            both, either = overlap(answer, truth)
            assert metric == pytest.approx(both / either if either else 1.0, abs=1e-5)
        assert summary["metrics"]["by_category"][category]["iou"] == pytest.approx(metric, abs=1e-5)


def test_fr_divides_by_t_and_the_rate_of_repeats_by_the_prompts_given():
    """Eq. 14, in which T is the number of steps whether an agent stopped or not."""
    scores = PromptingScores()
    for name, hits in (("a", [True, False, True]), ("b", [True]), ("stopped at once", [])):
        scores.add(_image(name, [_first(5, 10)] * 4, _first(10, 10), np.array(hits, bool), ~np.array(hits, bool)))
    summary = scores.summary()
    assert summary["foreground_rate"] == pytest.approx((2 / 3 + 1 / 3 + 0) / 3)
    assert summary["repeated"] == pytest.approx(1 / 3 / 2)


def test_what_does_not_prompt_has_no_rates():
    scores = PromptingScores()
    scores.add(_image("a", [_first(5, 10)], _first(10, 10), [], []))
    summary = scores.summary()
    assert summary["miou_by_step"] == [summary["miou"]] == [0.5]
    assert summary["foreground_rate"] is summary["repeated"] is None


@given(masks, masks, arrays(bool, 2))
def test_an_image_survives_json(answer, truth, hits):
    image = _image("deep/a", [answer, ~answer, truth], truth, hits, ~hits)
    scores, again = PromptingScores(), PromptingScores()
    scores.add(image)
    again.add(PromptedImage.from_json(json.loads(json.dumps(image.to_json()))))
    assert again.summary() == scores.summary()
    assert np.array_equal(again.ious(), scores.ious())
