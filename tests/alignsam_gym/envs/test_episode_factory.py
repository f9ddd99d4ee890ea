"""What an environment is made of, and what is said of parts that do not go together."""

import gymnasium as gym
import pytest
import torch

import alignsam_gym  # noqa: F401  # registers the environment
from alignsam_gym.data import load_dataset
from alignsam_gym.envs.env_config import SampleOptions
from alignsam_gym.envs.episode_factory import open_samples
from alignsam_gym.errors import OptionError


@pytest.mark.parametrize("options", [{}, {"preset": "best"}, {"branch": "explicit"}])
def test_to_make_an_environment_leaves_the_global_generator_as_it_was(options, tmp_path):
    """A program that seeds it, makes an environment and then a network gets the same network by whatever options."""
    before = torch.get_rng_state()
    gym.make("AlignSAM-v0", shots=2, cache_dir=tmp_path, **options)
    assert torch.equal(torch.get_rng_state(), before)


def test_development_images_are_those_of_the_training_split_that_are_not_labelled():
    train, development, test = (open_samples(SampleOptions(split=split)) for split in ("train", "development", "test"))
    whole = load_dataset("shapes", "train")
    assert sorted([*train.ids, *development.ids]) == sorted(whole.ids)
    assert not set(whole.ids) & set(test.ids)


def test_a_cache_that_is_a_file_is_refused(make_toy, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OptionError, match=r"cache_dir=.*file is a file; name a folder"):
        make_toy(cache_dir=tmp_path / "file")
