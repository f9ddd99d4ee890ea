"""What an environment is made of, and what is said of parts that do not go together."""

import gymnasium as gym
import pytest
import torch

import alignsam_gym  # noqa: F401  # registers the environment


@pytest.mark.parametrize("options", [{}, {"preset": "best"}, {"branch": "explicit"}])
def test_to_make_an_environment_leaves_the_global_generator_as_it_was(options, tmp_path):
    """A program that seeds it, makes an environment and then a network gets the same network by whatever options."""
    before = torch.get_rng_state()
    gym.make("AlignSAM-v0", shots=2, cache_dir=tmp_path, **options)
    assert torch.equal(torch.get_rng_state(), before)
