import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from alignsam_gym.envs.rendering import PANEL, _clock, draw_answer, overlay
from alignsam_gym.errors import OptionError

SIDE = PANEL[0]
BLACK = np.zeros((*PANEL, 3), np.uint8)


@pytest.fixture
def env(make_toy):
    env = make_toy(render_mode="rgb_array", label_source="oracle")
    env.reset(seed=0)
    return env


def _marks(env, prompts):
    """Where anything is drawn for the given (x, y, label), colours removed."""
    episode = env.unwrapped.episode
    episode.labels[0], episode.answers[0] = -1, -1
    for slot, (x, y, label) in enumerate(prompts):
        episode.points[0, slot], episode.labels[0, slot] = torch.tensor([x, y], dtype=torch.float32), label
    return draw_answer(episode, 0, BLACK).any(-1)


def test_a_picture_is_three_panels(make_toy, toy_dataset):
    env = make_toy(dataset=type(toy_dataset)(1, (500, 600)), render_mode="rgb_array", label_source="oracle")
    env.reset(seed=0)
    picture = env.render()
    assert picture.shape == (400, 1200, 3)
    assert picture.dtype == np.uint8
    image, truth, answer = np.split(picture, 3, axis=1)
    episode = env.unwrapped.episode
    sample = episode.encoded.dataset[int(episode.index[0])]
    np.testing.assert_array_equal(image, cv2.resize(sample.image, PANEL, interpolation=cv2.INTER_AREA))
    changed = (truth != image).any(-1)
    mask = cv2.resize(sample.mask.astype(np.uint8), PANEL, interpolation=cv2.INTER_NEAREST) > 0
    assert (changed == mask).mean() > 0.97  # the outline reaches a pixel beyond
    assert (answer != truth).any()


def test_a_step_changes_the_last_panel_only(env):
    before = env.render()
    env.step(0)
    after = env.render()
    np.testing.assert_array_equal(before[:, : 2 * SIDE], after[:, : 2 * SIDE])
    assert (before[:, 2 * SIDE :] != after[:, 2 * SIDE :]).any()


@pytest.mark.parametrize("size", [(40, 90), (90, 40)])
def test_images_of_any_shape_are_drawn(make_toy, toy_dataset, size):
    env = make_toy(dataset=type(toy_dataset)(1, size), render_mode="rgb_array")
    env.reset(seed=0)
    assert env.render().shape == (400, 1200, 3)


def test_marks_of_either_label_differ_without_their_colours(env):
    positive, negative = _marks(env, [(32, 32, 1)]), _marks(env, [(32, 32, 0)])
    disc, square = positive.sum(), negative.sum()
    assert 0.6 < disc / square < 0.9  # π/4 of the square
    assert (negative & ~positive).sum() > 0.1 * square


@pytest.mark.parametrize(("x", "y"), [(16, 48), (48, 16), (4, 4)])
@pytest.mark.parametrize("label", [0, 1])
def test_marks_are_where_the_prompts_are(env, x, y, label):
    rows, columns = np.nonzero(_marks(env, [(x, y, label)]))
    assert abs(columns.mean() - x * SIDE / 64) < 2
    assert abs(rows.mean() - y * SIDE / 64) < 2


def test_absent_prompts_are_not_drawn(env):
    assert not _marks(env, [(32, 32, -1)]).any()
    assert _marks(env, [(16, 16, 1), (48, 48, -1)])[:200, :200].any()
    assert not _marks(env, [(16, 16, 1), (48, 48, -1)])[200:, 200:].any()


def test_the_initial_pair_is_zero_and_steps_count_from_one(env):
    """The same number looks the same, wherever it stands."""

    def at(slot):
        prompts = [(0, 0, -1)] * slot + [(32, 32, 1)]
        episode = env.unwrapped.episode
        _marks(env, prompts)
        return draw_answer(episode, 0, BLACK)

    np.testing.assert_array_equal(at(0), at(1))
    assert (at(1) != at(2)).any()
    assert (at(2) != at(3)).any()


def test_an_overlay_tints_its_mask_and_spares_the_picture():
    image = np.full((20, 20, 3), 100, np.uint8)
    mask = np.zeros((20, 20), bool)
    mask[5:15, 5:15] = True
    picture = overlay(image, mask, (200, 0, 100))
    assert (image == 100).all()
    assert picture[10, 10].tolist() == [150, 50, 100]
    assert (picture[:4] == 100).all()


def test_without_a_render_mode_nothing_is_drawn(make_toy):
    env = make_toy().unwrapped
    env.reset(seed=0)
    with pytest.warns(UserWarning, match="without a render_mode"):
        assert env.render() is None


def test_vector_environments_draw_a_picture_for_each_row(make_toy_vec):
    envs = make_toy_vec(2, render_mode="rgb_array").unwrapped
    envs.reset(seed=0, options={"index": [0, 1]})
    first, second = envs.render()
    assert first.shape == second.shape == (400, 1200, 3)
    assert (first != second).any()


@pytest.mark.parametrize("count", [None, 2])
def test_human_mode_shows_the_picture_in_a_window(make_toy, make_toy_vec, count):
    pygame = pytest.importorskip("pygame")

    def make(mode):
        options = {"render_mode": mode, "label_source": "oracle"}
        return make_toy(**options).unwrapped if count is None else make_toy_vec(count, **options).unwrapped

    shown, drawn = make("human"), make("rgb_array")
    for env in (shown, drawn):
        env.reset(seed=0)
        env.step(3 if count is None else np.array([3] * count))
    assert shown.render() is None
    window = pygame.display.get_surface()
    assert window.get_size() == (1200, 400)
    expected = drawn.render() if count is None else drawn.render()[0]
    np.testing.assert_array_equal(pygame.surfarray.array3d(window).swapaxes(0, 1), expected)
    shown.close()
    assert pygame.display.get_surface() is None


def test_human_mode_draws_by_itself(make_toy):
    pygame = pytest.importorskip("pygame")
    env = make_toy(render_mode="human", label_source="oracle")
    env.reset(seed=0)
    before = pygame.surfarray.array3d(pygame.display.get_surface())
    env.step(3)
    assert (before != pygame.surfarray.array3d(pygame.display.get_surface())).any()


def test_human_mode_shows_no_more_pictures_a_second_than_the_metadata_say(make_toy, monkeypatch):
    pygame = pytest.importorskip("pygame")
    _clock.cache_clear()
    waits = []
    env = make_toy(render_mode="human", label_source="oracle")
    monkeypatch.setattr(pygame.time, "Clock", lambda: SimpleNamespace(tick=waits.append))
    env.reset(seed=0)
    env.step(3)
    env.close()
    _clock.cache_clear()
    assert waits == [env.metadata["render_fps"]] * 2


def test_human_mode_without_pygame_says_how_to_get_it(make_toy, monkeypatch):
    monkeypatch.setitem(sys.modules, "pygame", None)
    env = make_toy(render_mode="human").unwrapped
    env.render_mode = None
    env.reset(seed=0)
    env.render_mode = "human"
    with pytest.raises(OptionError, match=r"needs pygame: pip install"):
        env.render()
    env.render_mode = None  # nothing to close
