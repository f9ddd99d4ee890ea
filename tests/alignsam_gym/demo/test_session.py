from dataclasses import replace

import numpy as np
import pytest
import torch

from alignsam_gym.agents import AlignSAM
from alignsam_gym.demo.pointers import UNTRAINED, Pointers
from alignsam_gym.demo.session import OwnPoint, add, corrected, mask, names, run_episode
from alignsam_gym.errors import OptionError
from alignsam_gym.srm import SRM

STEPS = 3


def test_what_is_watched_is_what_the_agent_predicts(make_run, picture):
    run = make_run()
    session = run_episode(Pointers([run], None, None, "cpu").get(str(run)), picture, None)
    expected = list(AlignSAM.load(run, device="cpu").predict_steps(picture.image))
    assert len(expected) == session.steps + 1 == STEPS + 1
    for answer, prediction, iou in zip(session.answers, expected, session.ious, strict=True):
        np.testing.assert_array_equal(mask(picture, answer), prediction.mask)
        np.testing.assert_allclose(answer.points, prediction.points)
        np.testing.assert_array_equal(answer.labels, prediction.labels)
        both, either = prediction.mask & picture.truth, prediction.mask | picture.truth
        assert iou == pytest.approx(both.sum() / either.sum())


def test_a_step_hits_where_its_point_is_foreground(make_pointer, picture):
    session = run_episode(make_pointer(), picture, None)
    assert session.answers[0].hit is None
    for answer in session.answers[1:]:
        x, y = answer.points[-1]
        assert answer.hit == picture.truth[int(y), int(x)]


def test_without_ground_truth_nothing_is_measured(make_pointer, picture):
    session = run_episode(make_pointer(), replace(picture, truth=None), None)
    assert {answer.hit for answer in session.answers} == {None}
    assert set(session.ious) == {None}


@pytest.mark.parametrize("mask_prompt", [False, True])
def test_a_point_of_ones_own_does_what_the_same_step_of_the_agent_does(make_pointer, picture, mask_prompt):
    session = run_episode(make_pointer(mask_prompt=mask_prompt), picture, None)
    for step in range(STEPS):
        following = session.answers[step + 1]
        own = [OwnPoint(*following.points[-1].tolist(), bool(following.labels[-1]))]
        answer = corrected(session, step, own)
        torch.testing.assert_close(answer.logits, following.logits, atol=1e-4, rtol=1e-4)
        np.testing.assert_allclose(answer.points, following.points)
        assert names(session, answer, step) == ["0", "0", *map(str, range(1, step + 1)), "a"]


def test_without_points_of_ones_own_the_agents_answer_stands(make_pointer, picture):
    session = run_episode(make_pointer(), picture, None)
    assert [corrected(session, step, []) for step in range(STEPS + 1)] == list(session.answers)


def test_an_agent_that_stops_is_watched_until_then(make_pointer, picture):
    pointer = make_pointer(stop=True)
    whole = run_episode(replace(pointer, prompter=lambda episode: episode.steps.numpy()), picture, None)
    stopped = run_episode(
        replace(pointer, prompter=lambda episode: np.where(episode.steps == 2, 16, episode.steps)), picture, None
    )
    assert (whole.steps, stopped.steps) == (3, 2)
    torch.testing.assert_close(stopped.answers[-1].logits, whole.answers[2].logits)


@pytest.mark.parametrize(("x", "y"), [(-1, 5), (81, 5), (5, 51), (None, 5), (5, None), (float("nan"), 5)])
def test_points_are_in_the_picture(picture, x, y):
    with pytest.raises(OptionError, match="x from 0 to 80 and y from 0 to 50"):
        add([], picture, x, y, True)


def test_own_points_end_with_the_alphabet(picture):
    own = []
    for number in range(26):
        own = add(own, picture, number, 0, False)
    with pytest.raises(OptionError, match="26 points"):
        add(own, picture, 0, 0, False)


def test_a_text_is_asked_for_where_one_guides(make_pointer, picture):
    pointer = replace(make_pointer(), clip=object())
    for text in (None, "", "  "):
        with pytest.raises(OptionError, match="what to look for"):
            run_episode(pointer, picture, text)


def test_a_text_of_any_length_is_not_read(make_pointer, picture):
    with pytest.raises(OptionError, match="201 characters is too long: use up to 200"):
        run_episode(replace(make_pointer(), clip=object()), picture, "a" * 201)


@pytest.mark.slow
def test_without_a_run_clip_finds_what_the_text_names():
    from alignsam_gym.demo.images import example

    pointers = Pointers([], None, None, "cpu")
    assert pointers.names == [UNTRAINED]
    drawn = example("A mirror")
    pointer = pointers.get(UNTRAINED)
    assert isinstance(pointer.srm, SRM)
    session = run_episode(pointer, drawn, " glass ")
    assert session.text == "glass"
    assert session.steps == 15
    assert session.ious[-1] > 0.8
    assert len(np.unique(session.answers[-1].points[2:], axis=0)) == 15


@pytest.mark.slow
def test_a_run_that_a_text_guides_goes_by_the_text(make_pointer, picture):
    pointer = make_pointer(branch="explicit", text="ring")
    assert "A text guides it" in pointer.how
    assert [run_episode(pointer, picture, text).text for text in (None, "star")] == ["ring", "star"]
    first, second = (run_episode(pointer, picture, text).answers[-1].logits for text in ("ring", "shadow"))
    assert not torch.equal(first, second)
