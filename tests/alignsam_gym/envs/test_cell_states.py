import numpy as np
import pytest
import torch

from alignsam_gym.envs.cell_states import cell_maps, form_kept_states


@pytest.fixture(params=["product", "concat", "guided"])
def envs(request, make_toy_vec):
    options = {"state": request.param, "observation": "cells", "autoreset_mode": "SameStep", "max_steps": 3}
    made = make_toy_vec(3, **options).unwrapped
    made.reset(seed=0)
    return made


def test_an_agent_sees_the_state_of_eq_4_in_every_cell(envs):
    for _ in range(2):
        seen, *_ = envs.step(np.array([3, 7, 11]))
        assert envs.single_observation_space.contains({name: part[0] for name, part in seen.items()})
        whole = envs.episode.states().numpy()
        np.testing.assert_allclose(seen["state"], whole, atol=2e-3 * np.abs(whole).max())


def test_states_seen_earlier_are_formed_anew_bit_by_bit(envs):
    kept = []
    for step in range(5):  # two more than an episode, so that other images are played on
        seen, *_ = envs.step(np.array([step, step + 5, step + 10]))
        kept.append(seen)
    indices = torch.from_numpy(np.concatenate([each["image"][:, 0] for each in kept]))
    maps = torch.from_numpy(np.concatenate([each["maps"] for each in kept]))
    again = form_kept_states(envs.episode, indices, maps)
    np.testing.assert_array_equal(again.numpy(), np.concatenate([each["state"] for each in kept]))


def test_a_coarser_grid_has_means_of_cells(make_toy_vec):
    envs = make_toy_vec(2, observation="cells", srm_grid_size=4, state="product").unwrapped
    seen, _ = envs.reset(seed=0)
    assert seen["state"].shape[2:] == seen["maps"].shape[2:] == (4, 4)
    again = form_kept_states(envs.episode, envs.episode.index, cell_maps(envs.episode))
    np.testing.assert_array_equal(again.numpy(), seen["state"])


def test_what_was_chosen_is_seen_where_it_may_not_be_chosen_again(make_toy_vec):
    for revisit, names in (("allow", {"state", "image", "maps"}), ("forbid", {"state", "image", "maps", "visited"})):
        assert set(make_toy_vec(2, observation="cells", revisit=revisit).reset(seed=0)[0]) == names
