"""What the results of an evaluation depend on: where it differs, nothing goes on that was measured before."""

from copy import copy
from types import SimpleNamespace

import pytest
import torch

from alignsam_gym.agents.trained_run import load_config, load_run
from alignsam_gym.experiments.resumable_evaluation import signature

OTHER = SimpleNamespace(fingerprint="other")


def _change_a_weight(module):
    with torch.no_grad():
        next(module.parameters()).view(-1)[0] += 1


CHANGES = {
    "nothing": lambda config, episode, policy: None,
    "the device": lambda config, episode, policy: config.update(device="auto"),
    "a key": lambda config, episode, policy: config.evaluate.update(limit=2),
    "the policy": lambda config, episode, policy: _change_a_weight(policy),
    "the SRM": lambda config, episode, policy: _change_a_weight(episode.srm.members),
    "the SAM": lambda config, episode, policy: setattr(episode.model, "fingerprint", "other"),
    "the text's CLIP": lambda config, episode, policy: setattr(episode.encoded, "clip", OTHER),
    "the SRM's CLIP": lambda config, episode, policy: setattr(episode.encoded, "features", OTHER),
    "an image": lambda config, episode, policy: episode.encoded.dataset.ids.append("other"),
}


@pytest.fixture
def evaluated(make_run, toy_dataset):
    """A run's configuration, its game of test images, and its policy."""
    run = make_run()
    config = load_config(run)
    env, policy = load_run(run, config, samples=toy_dataset)
    env.episode.model = copy(env.episode.model)  # which other tests share
    return config, env.episode, policy


@pytest.mark.parametrize("changed", CHANGES)
def test_results_depend_on_keys_weights_models_and_images_and_not_on_the_device(evaluated, changed):
    before = signature(*evaluated)
    CHANGES[changed](*evaluated)
    assert (signature(*evaluated) == before) == (changed in ("nothing", "the device"))
