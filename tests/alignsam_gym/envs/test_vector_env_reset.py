"""Seeds, indices and masks that a vector environment is reset with."""

import gymnasium as gym
import numpy as np
import pytest

from alignsam_gym.errors import OptionError
from tests.alignsam_gym.envs.vector_playing import are_identical, play


def test_without_autoreset_ended_rows_must_be_reset(make_toy_vec):
    envs = make_toy_vec(2, autoreset_mode="Disabled", max_steps=1)
    envs.reset(seed=0)
    envs.step(np.array([0, 0]))
    with pytest.raises(gym.error.ResetNeeded, match="reset_mask"):
        envs.step(np.array([0, 0]))
    envs.reset(options={"reset_mask": np.array([True, False])})
    with pytest.raises(gym.error.ResetNeeded, match="reset_mask"):
        envs.step(np.array([0, 0]))


def test_a_reset_mask_leaves_the_other_rows_where_they_are(make_toy_vec):
    envs = make_toy_vec(3, label_source="oracle")
    before, _ = play(envs, [[0, 1, 2]], seed=0)[-1][::4]
    after, info = envs.reset(options={"reset_mask": np.array([False, True, False]), "index": 4})
    np.testing.assert_array_equal(after[[0, 2]], before[[0, 2]])
    assert not np.array_equal(after[1], before[1])
    assert info["index"][1] == 4
    assert envs.unwrapped.episode.steps.tolist() == [1, 0, 1]


def test_step_observe_and_render_need_a_reset_first(make_toy_vec):
    envs = make_toy_vec(1, render_mode="rgb_array").unwrapped
    for method, call in {
        "step": lambda: envs.step(np.array([0])),
        "observe": envs.observe,
        "render": envs.render,
    }.items():
        with pytest.raises(gym.error.ResetNeeded, match=rf"reset\(\) before {method}"):
            call()


def test_one_seed_is_one_run(make_toy_vec):
    envs, actions = make_toy_vec(2), [[0, 1], [5, 6], [9, 9], [0, 0], [1, 2]]
    first = [play(envs, actions, seed=3), play(envs, actions)]
    again = [play(envs, actions, seed=3), play(envs, actions)]
    assert are_identical(first, again)
    assert not are_identical(first[0][0], first[1][0])
    assert not are_identical(first[0], play(envs, actions, seed=4))


def test_seeds_can_be_given_row_by_row(make_toy_vec):
    envs = make_toy_vec(2, label_source="oracle")
    together = envs.reset(seed=3)
    assert are_identical(together, envs.reset(seed=[3, 4]))
    swapped = envs.reset(seed=[4, 3])[0]
    np.testing.assert_allclose(swapped[::-1], together[0], atol=1e-4)
    with pytest.raises(OptionError, match="3 seeds were given for 2 environments: give one for each"):
        envs.reset(seed=[1, 2, 3])


def test_a_seed_for_some_rows_begins_their_draws_anew_as_one_for_all_does(make_toy_vec):
    envs, fresh = make_toy_vec(2), make_toy_vec(2)
    envs.reset(seed=0)
    envs.reset()
    second_row = {"reset_mask": np.array([False, True])}

    def drawn(envs, options):
        infos = [envs.reset(seed=7, options=options)[1], *(envs.reset(options=second_row)[1] for _ in range(3))]
        return [(info["index"][1], info["point"][1].tolist()) for info in infos]

    assert drawn(envs, second_row) == drawn(fresh, None)


def test_indices_choose_the_images(make_toy_vec):
    envs = make_toy_vec(3)
    assert envs.reset(seed=0, options={"index": 2})[1]["image_id"].tolist() == ["toy2"] * 3
    assert envs.reset(options={"index": [4, 0, 1]})[1]["image_id"].tolist() == ["toy4", "toy0", "toy1"]
    with pytest.raises(OptionError, match="index=5 is outside the data set's 5 samples"):
        envs.reset(options={"index": [0, 5, 0]})


def test_a_reset_mask_of_another_shape_is_refused(make_toy_vec):
    envs = make_toy_vec(3)
    envs.reset(seed=0)
    with pytest.raises(OptionError, match=r"reset_mask has shape \(2,\); it needs \(3,\)"):
        envs.reset(options={"reset_mask": np.array([True, False])})


def test_an_unknown_reset_option_is_refused_as_by_the_single_environment(make_toy_vec):
    with pytest.raises(OptionError, match="reset has no option indx"):
        make_toy_vec(2).reset(options={"indx": 1})


@pytest.mark.parametrize("mask", [[False] * 3, [True, False, True]])
def test_the_first_reset_is_of_all_rows(make_toy_vec, mask):
    with pytest.raises(OptionError, match=r"reset_mask=.* at first all"):
        make_toy_vec(3).reset(options={"reset_mask": np.array(mask)})


@pytest.mark.parametrize("index", [[0, 1], 2.7, [0, 1, 2.5], "0"])
def test_indices_that_are_none_are_refused(make_toy_vec, index):
    with pytest.raises(OptionError, match=r"index=.*one whole number or 3 whole numbers"):
        make_toy_vec(3).reset(options={"index": index})
