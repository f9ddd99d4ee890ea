"""What a chosen patch earns."""

import numpy as np
import pytest
import torch

from tests.alignsam_gym.envs.episode_replay import replay_of


@pytest.mark.parametrize("label_source", ["srm", "oracle"])
def test_trying_a_patch_out_tells_what_choosing_it_leads_to(make_toy, label_source):
    outcomes = []
    for action in range(16):
        env = make_toy(label_source=label_source, split="test")
        env.reset(seed=3, options={"index": 1})
        env.step(7)
        tried = env.unwrapped.episode.lookahead_ious(torch.arange(16)[None])["sam"]
        outcomes.append(env.step(action)[4]["iou"])
        np.testing.assert_allclose(tried[0, action], outcomes[-1], atol=1e-5)
    np.testing.assert_allclose(tried[0], outcomes, atol=1e-5)
    assert np.ptp(outcomes) > 0.01


def test_delta_iou_is_the_change_that_the_prompt_made(make_toy):
    env = make_toy(reward="delta_iou", label_source="oracle", max_steps=6)
    _, info = env.reset(seed=0)
    rewards = []
    for action in (1, 5, 10, 6, 15, 0):
        before = info["iou"]
        _, reward, _, _, info = env.step(action)
        rewards.append(reward)
        assert reward == pytest.approx(info["iou"] - before, abs=1e-6)
    assert any(rewards)


def test_a_mix_weighs_both_rewards(make_toy):
    parts = {"foreground": 0.25, "delta_iou": -2.0}
    envs = [make_toy(reward=reward, label_source="oracle") for reward in (parts, *parts)]
    for env in envs:
        env.reset(seed=0)
    for action in (0, 5, 10):
        mixed, foreground, delta = (env.step(action)[1] for env in envs)
        assert mixed == pytest.approx(0.25 * foreground - 2 * delta)


def test_void_is_background_to_the_reward_and_nothing_to_the_iou(make_toy, toy_model, one_sample):
    mask, void = np.zeros((64, 64), bool), np.zeros((64, 64), bool)
    mask[:, :32], void[:32] = True, True
    data = one_sample(mask, void)
    env = make_toy(dataset=data, label_source="oracle", max_steps=4)
    env.reset(seed=0)
    replay = replay_of(env, toy_model, data[0])
    for action, foreground in ((0, False), (3, False), (12, True), (15, False)):  # corners
        replay.prompt(replay.centre(action), int(foreground))
        _, reward, _, _, info = env.step(action)
        assert reward == (1 if foreground else -1)
        assert info["label"] == int(foreground)
        lower = replay.logits[16:] > 0
        truth = np.tile(np.arange(32) < 16, (16, 1))
        assert info["iou"] == pytest.approx((lower & truth).sum() / (lower | truth).sum(), abs=1e-4)
