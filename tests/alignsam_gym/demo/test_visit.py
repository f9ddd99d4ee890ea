from dataclasses import replace

import numpy as np
import pytest
import torch

from alignsam_gym import AlignSAM
from alignsam_gym.demo.pointers import UNTRAINED, Pointers
from alignsam_gym.demo.visit import add_point, prompt_to_end
from alignsam_gym.errors import OptionError
from alignsam_gym.srm import SRM

STEPS = 3


def guided(pointer):
    """The pointer with a CLIP that nothing may ask."""

    def new_session():
        session = pointer.new_session()
        session.clip = object()
        return session

    return replace(pointer, guided=True, new_session=new_session)


def test_what_is_watched_is_what_the_agent_predicts(make_run, picture):
    run = make_run()
    visit = prompt_to_end(Pointers([run], None, None, "cpu").get(str(run)), picture, None)
    session = AlignSAM.from_pretrained(run, device="cpu").session()
    session.set_image(picture.pixels)
    expected = [session.prediction()]
    while session.step():
        expected.append(session.prediction())
    assert len(expected) == visit.session.steps + 1 == STEPS + 1
    for step, (prediction, measured) in enumerate(zip(expected, visit.measured, strict=True)):
        answer = visit.session.prediction(step=step)
        np.testing.assert_array_equal(answer.mask, prediction.mask)
        np.testing.assert_allclose(answer.points, prediction.points)
        np.testing.assert_array_equal(answer.labels, prediction.labels)
        both, either = prediction.mask & picture.truth, prediction.mask | picture.truth
        assert measured.iou == pytest.approx(both.sum() / either.sum())
        assert measured.covered == pytest.approx((prediction.logits > 0).float().mean().item())


def test_a_step_hits_where_its_point_is_foreground(make_pointer, picture):
    visit = prompt_to_end(make_pointer(), picture, None)
    assert visit.measured[0].hit is None
    for step in range(1, STEPS + 1):
        x, y = visit.session.prediction(step=step).points[-1]
        assert visit.measured[step].hit == picture.truth[int(y), int(x)]


def test_without_ground_truth_nothing_is_measured(make_pointer, picture):
    visit = prompt_to_end(make_pointer(), replace(picture, truth=None), None)
    assert {(measured.iou, measured.hit) for measured in visit.measured} == {(None, None)}


def test_prompts_are_called_by_who_gave_them(make_pointer, picture):
    visit = prompt_to_end(make_pointer(), picture, None)
    for step in range(STEPS + 1):
        assert visit.names(visit.session.prediction(step=step), step) == ["0", "0", *map(str, range(1, step + 1))]
    add_point(visit, 3, 4, False)
    add_point(visit, 5, 6, True)
    assert visit.names(visit.session.prediction(step=1), 1) == ["0", "0", "1", "a", "b"]


def test_an_agent_that_stops_is_watched_until_then(make_pointer, picture):
    pointer = make_pointer(stop=True)

    def by(prompter):
        def new_session():
            session = pointer.new_session()
            session.prompter = prompter
            return session

        return replace(pointer, new_session=new_session)

    whole = prompt_to_end(by(lambda episode: episode.steps.numpy()), picture, None)
    stopped = prompt_to_end(by(lambda episode: np.where(episode.steps == 2, 16, episode.steps)), picture, None)
    assert (len(whole.measured), len(stopped.measured)) == (4, 3)
    torch.testing.assert_close(stopped.session.prediction().logits, whole.session.prediction(step=2).logits)


@pytest.mark.parametrize(("x", "y"), [(-1, 5), (81, 5), (5, 51), (None, 5), (5, None), (float("nan"), 5)])
def test_points_are_in_the_picture(make_pointer, picture, x, y):
    visit = prompt_to_end(make_pointer(), picture, None)
    with pytest.raises(OptionError, match="x from 0 to 80 and y from 0 to 50"):
        add_point(visit, x, y, True)


def test_own_points_end_with_the_alphabet(make_pointer, picture):
    visit = prompt_to_end(make_pointer(), picture, None)
    for number in range(26):
        add_point(visit, number, 0, False)
    with pytest.raises(OptionError, match="26 points"):
        add_point(visit, 0, 0, False)


def test_a_text_is_asked_for_where_one_guides(make_pointer, picture):
    pointer = guided(make_pointer())
    for text in (None, "", "  "):
        with pytest.raises(OptionError, match="what to look for"):
            prompt_to_end(pointer, picture, text)


def test_a_text_of_any_length_is_not_read(make_pointer, picture):
    with pytest.raises(OptionError, match="201 characters is too long: use up to 200"):
        prompt_to_end(guided(make_pointer()), picture, "a" * 201)


@pytest.mark.slow
def test_without_a_run_clip_finds_what_the_text_names():
    from alignsam_gym.demo.images import draw_example

    pointers = Pointers([], None, None, "cpu")
    assert pointers.names == [UNTRAINED]
    visit = prompt_to_end(pointers.get(UNTRAINED), draw_example("A mirror"), " mirror ")
    assert isinstance(visit.session.srm, SRM)
    assert visit.text == "mirror"
    assert visit.session.steps == 15
    assert visit.measured[-1].iou > 0.5
    assert len(np.unique(visit.session.prediction().points[2:], axis=0)) == 15


@pytest.mark.slow
def test_a_run_that_a_text_guides_goes_by_the_text(make_pointer, picture):
    pointer = make_pointer(branch="explicit", text="ring")
    assert "A text guides it" in pointer.how
    assert [prompt_to_end(pointer, picture, text).text for text in (None, "star")] == ["ring", "star"]
    first, second = (prompt_to_end(pointer, picture, text).session.prediction().logits for text in ("ring", "shadow"))
    assert not torch.equal(first, second)
