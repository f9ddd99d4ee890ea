from dataclasses import replace

import numpy as np
import pytest
import torch

from alignsam_gym.envs.prompters import grid_prompter, play
from alignsam_gym.envs.prompting_session import PromptingSession, UserPoint
from alignsam_gym.errors import DataError, OptionError
from alignsam_gym.transforms import mask_from_logits

STEPS = 3


@pytest.fixture
def make_session(make_toy_vec):
    """A session of 16 patches and 3 steps with the toy SAM, which labels by SAM's last mask."""

    def make(prompter=grid_prompter, **options):
        rules = {"split": "test", "label_source": "last", **options}
        episode = make_toy_vec(1, **rules).unwrapped.episode
        return PromptingSession(episode.rules, episode.model, episode.srm, prompter, text="star")

    return make


@pytest.fixture
def images():
    """Of three sizes."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((64, 64), (50, 80), (90, 30))]


def finish(session):
    while session.step():
        pass
    return session


def same(one, other):
    np.testing.assert_array_equal(one.mask, other.mask)
    np.testing.assert_allclose(one.points, other.points, rtol=1e-6)
    np.testing.assert_array_equal(one.labels, other.labels)


def test_a_session_plays_the_episode(make_session, make_toy_vec, toy_dataset):
    session = make_session()
    episode = make_toy_vec(1, split="test", label_source="last").unwrapped.episode
    session.set_image(toy_dataset[2].image)
    for step in play(episode, [2], grid_prompter):
        assert session.steps == step
        found = session.prediction()
        assert torch.equal(found.logits, episode.logits[0])
        np.testing.assert_array_equal(found.mask, mask_from_logits(episode.logits[0], (64, 64)))
        np.testing.assert_array_equal(found.points, episode.points[0, : 2 + step])
        np.testing.assert_array_equal(found.labels, episode.labels[0, : 2 + step])
        assert session.step() == (step < STEPS)
    assert len(session.patches()) == STEPS


def test_earlier_steps_can_be_looked_back_on(make_session, images):
    session = make_session()
    session.set_image(images[1])
    seen = [session.prediction()]
    while session.step():
        seen.append(session.prediction())
    for step, prediction in enumerate(seen):
        same(session.prediction(step=step), prediction)


def test_the_maps_of_a_step_are_those_the_prompter_saw(make_session, images):
    seen = []

    def prompter(episode):
        seen.append(episode.srm_logits[0].sigmoid().numpy())
        return grid_prompter(episode)

    session = make_session(prompter)
    session.set_image(images[1])
    assert session.maps() == (None, None)  # the SRM has learned nothing, and there is no CLIP
    session.srm.learned = True
    finish(session).add_point(5, 5, positive=True)
    for step, expected in enumerate(seen):
        np.testing.assert_array_equal(session.maps(step=step).srm, expected)
    assert not np.array_equal(seen[0], seen[1])


def test_what_auto_leaves_open_is_the_srms_pair(make_session, images):
    auto, srm = make_session(initial_prompts="srm"), make_session(initial_prompts="srm")
    auto = PromptingSession(replace(srm.rules, initial_prompts="auto"), auto.model, auto.srm, grid_prompter)
    for session in (auto, srm):
        session.srm.learned = True
        session.set_image(images[1])
    same(auto.prediction(), srm.prediction())
    assert srm.prediction().labels.tolist() == [1, 0]


def test_images_and_steps_that_are_not_there_are_errors(make_session, images):
    session = make_session()
    session.set_images(images)
    session.step()
    for wrong in ({"row": 3}, {"row": -1}, {"step": 2}, {"step": -1}):
        with pytest.raises(OptionError, match=next(iter(wrong))):
            session.prediction(**wrong)
        with pytest.raises(OptionError, match=next(iter(wrong))):
            session.maps(**wrong)
    with pytest.raises(DataError):
        session.set_image(np.zeros(3))
    assert session.steps == 0
    with pytest.raises(OptionError, match="no image"):
        session.patches()


def test_several_images_are_prompted_as_each_is_alone(make_session, images):
    together, alone = make_session(), make_session()
    assert together.set_images(iter(images)) == 3
    finish(together)
    for row, image in enumerate(images):
        alone.set_image(image)
        finish(alone)
        assert together.patches(row) == alone.patches()
        same(together.prediction(row), alone.prediction())
        assert together.prediction(row).mask.shape == image.shape[:2]


def test_a_users_point_does_what_the_same_step_does(make_session, images):
    session = make_session()
    session.set_image(images[1])
    finish(session)
    for step in range(STEPS):
        following = session.prediction(step=step + 1)
        session.add_point(*following.points[-1].tolist(), bool(following.labels[-1]))
        corrected = session.prediction(step=step)
        torch.testing.assert_close(corrected.logits, following.logits, atol=1e-4, rtol=1e-4)
        np.testing.assert_allclose(corrected.points, following.points)
        session.undo()


def test_points_are_taken_back_one_by_one(make_session, images):
    session = make_session()
    session.set_image(images[1])
    seen = [session.prediction()]
    for x in (10, 20):
        session.add_point(x, 5, positive=False)
        seen.append(session.prediction())
    assert session.user_points() == (UserPoint(10, 5, False), UserPoint(20, 5, False))
    assert seen[2].points[-2:].tolist() == [[10, 5], [20, 5]]
    assert seen[2].labels[-2:].tolist() == [0, 0]
    for expected in reversed(seen):
        same(session.prediction(), expected)
        session.undo()
    same(session.prediction(), seen[0])


def test_a_point_is_on_one_image(make_session, images):
    session = make_session()
    session.set_images(images)
    before = [session.prediction(row) for row in range(3)]
    session.add_point(3, 4, positive=True, row=1)
    assert [len(session.prediction(row).labels) for row in range(3)] == [2, 3, 2]
    for row in (0, 2):
        same(session.prediction(row), before[row])


def test_another_image_begins_anew(make_session, images):
    session = make_session()
    session.set_image(images[0])
    first = finish(session).prediction()
    session.add_point(1, 1, positive=True)
    session.set_image(images[0])
    assert (session.steps, session.user_points(), session.patches()) == (0, (), ())
    same(finish(session).prediction(), first)


def test_a_prompter_may_stop(make_session, images):
    stopping = make_session(lambda episode: np.where(episode.steps == 2, 16, episode.steps), stop=True)
    going = make_session(lambda episode: episode.steps.numpy(), stop=True)
    for session in (stopping, going):
        session.set_image(images[0])
        finish(session)
    assert (stopping.steps, going.steps) == (2, 3)
    assert stopping.patches() == (0, 1)
    same(stopping.prediction(), going.prediction(step=2))


def test_one_image_may_stop_before_another(make_session, images):
    session = make_session(lambda episode: np.array([16, 3]), stop=True, revisit="allow")
    session.set_images(images[:2])
    finish(session)
    assert [session.patches(row) for row in range(2)] == [(), (3, 3, 3)]
    assert [len(session.prediction(row).labels) for row in range(2)] == [2, 5]


@pytest.mark.parametrize(("x", "y"), [(-1, 5), (81, 5), (5, 51), (float("nan"), 5)])
def test_points_are_in_the_image(make_session, images, x, y):
    session = make_session()
    session.set_image(images[1])
    with pytest.raises(OptionError, match="x from 0 to 80 and y from 0 to 50"):
        session.add_point(x, y, positive=True)


def test_an_image_comes_first(make_session):
    session = make_session()
    assert session.set_images([]) == 0
    for act in (session.step, session.undo, session.prediction, lambda: session.add_point(0, 0, True)):
        with pytest.raises(OptionError, match="There is no image to prompt yet: give one"):
            act()


def test_a_torn_image_leaves_none(make_session, images):
    session = make_session()
    with pytest.raises(DataError, match="nowhere"):
        session.set_images([images[0], "nowhere.png"])
    with pytest.raises(OptionError, match="no image"):
        session.step()


def test_a_text_that_nothing_reads_is_refused(make_session, images):
    with pytest.raises(OptionError, match="leave the text out"):
        make_session().set_image(images[0], text="star")


@pytest.mark.parametrize(("name", "value"), [("label_source", "oracle"), ("initial_prompts", "truth")])
def test_rules_that_ask_the_truth_are_refused(make_toy_vec, name, value):
    episode = make_toy_vec(1, **{"split": "test", name: value}).unwrapped.episode
    with pytest.raises(OptionError, match="ground truth"):
        PromptingSession(episode.rules, episode.model, episode.srm, grid_prompter)
