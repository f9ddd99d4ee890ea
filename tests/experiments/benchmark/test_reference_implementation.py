"""The reference implementation is worth beating only if it plays the same game."""

import numpy as np
import pytest
import torch

from alignsam_gym.experiments.benchmark.environment_speed import SRM
from alignsam_gym.experiments.benchmark.models import Scenes
from alignsam_gym.experiments.benchmark.reference_implementation import (
    reference_environment,
    reference_environments,
    reference_iou,
    reference_metrics,
)
from alignsam_gym.metrics import score_mask


@pytest.mark.parametrize("srm", [SRM | {"width": 8}, None])
def test_the_reference_plays_as_our_environment_does(make_toy, toy_model, srm):
    """Same points, so same answers, states and rewards; the toy's frame is 64, the reference implementation's 800."""
    data, actions = Scenes(2, side=64), [44, 5, 55]
    ours = make_toy(dataset=data, image_size=800, patch_size=80, label_source="positive")
    reference = reference_environment(toy_model, data, 3, srm, learns=False)
    ours.reset(seed=0, options={"index": 1})
    reference.reset(seed=0, options={"index": 1})
    episode = ours.unwrapped.episode
    reference.points[:] = episode.points[0, :2].tolist()
    if reference.labeller:
        reference.labeller.forward = lambda state: torch.ones(len(state), 8, 8)
    for action in actions:
        state, reward, _, truncated, _ = ours.step(action)
        expected, expected_reward, _, ended, _ = reference.step(action)
        np.testing.assert_allclose(state, expected, atol=2e-3)
        assert reward == expected_reward
        assert truncated == ended == (action == actions[-1])


def test_the_reference_environments_share_what_they_learn(toy_model):
    envs = reference_environments(toy_model, Scenes(2, side=64), 2, 3, SRM | {"width": 8})
    envs.seed(0)
    assert envs.reset().shape == (2, 32, 8, 8)
    first, second = envs.envs
    assert first is not second
    assert first.labeller is second.labeller
    before = [parameter.clone() for parameter in first.labeller.parameters()]
    envs.step(np.array([1, 2]))
    changed = [not torch.equal(old, new) for old, new in zip(before, first.labeller.parameters(), strict=True)]
    assert any(changed)


@pytest.mark.parametrize("side", [64, 100])
def test_scenes_are_the_same_each_time(side):
    first, again = Scenes(3, side)[2], Scenes(5, side)[2]
    assert first.id == again.id
    assert np.array_equal(first.image, again.image)
    assert first.mask.any()
    assert not first.mask.all()


def test_the_reference_measures_what_we_do():
    answer, truth = np.random.default_rng(0).random((2, 40, 30)) > 0.4
    ours, reference = score_mask(answer, truth), reference_metrics(answer, truth)
    assert reference_iou(answer, truth) == reference["iou"]["binary"] == pytest.approx(ours.counts.iou())
    assert 100 * reference["ber"]["binary"] == pytest.approx(ours.counts.ber_percent())
    assert ours.measures["f_beta_adaptive"] == reference["f_beta"]["adaptive"]
    assert np.array_equal(ours.curves["f_beta"], reference["f_beta"]["dynamic"])
    assert np.array_equal(ours.curves["e_phi"], reference["em"]["curve"])
    assert ours.measures["e_phi_adaptive"] == reference["em"]["adp"]
    assert ours.measures["s_measure"] == reference["sm"]
    assert ours.measures["f_beta_weighted"] == reference["wfm"]
    assert ours.counts.mae() == pytest.approx(reference["mae"])
