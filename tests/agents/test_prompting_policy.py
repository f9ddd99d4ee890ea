"""The pretrained prompting policy: its file, and PPO that begins from it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from alignsam_gym.agents.prompting_policy import (
    POLICY_WEIGHTS,
    UNIT,
    PromptingPolicy,
    load_prompting_policy,
    save_prompting_policy,
)
from alignsam_gym.envs.patch_evidence import EVIDENCE_CHANNELS
from alignsam_gym.errors import OptionError, WeightsError

PRETRAINED = {"network": "evidence", "width": 48, "init": "pretrained"}


@pytest.fixture
def make_pretrained(make_toy_learner):
    def make(algorithm="ppo", agent=None, **options):
        return make_toy_learner(algorithm, network=PRETRAINED, agent=agent, observation="evidence", **options)

    return make


def test_weights_come_back_in_half_precision(tmp_path):
    policy = PromptingPolicy(8)
    save_prompting_policy(policy, tmp_path / "policy.safetensors")
    again = load_prompting_policy(tmp_path / "policy.safetensors")
    for old, new in zip(policy.state_dict().values(), again.state_dict().values(), strict=True):
        torch.testing.assert_close(new, old.half().float(), rtol=0, atol=0)


@pytest.mark.parametrize("content", [b"", b"no weights", None])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "policy.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match="prompting policy"):
        load_prompting_policy(path)


def test_the_shipped_weights_are_small_and_have_a_card():
    assert POLICY_WEIGHTS.stat().st_size < 1_000_000
    assert load_prompting_policy(POLICY_WEIGHTS).width == PRETRAINED["width"]
    assert (Path(POLICY_WEIGHTS).parent / "POLICY_CARD.md").is_file()


def test_the_shipped_policy_computes_what_its_weights_were_trained_for():
    """Against functions of PyTorch alone: scores and values of five mixed convolutions, by patch and pooled."""
    policy = load_prompting_policy(POLICY_WEIGHTS)
    weights = policy.state_dict()

    def linear(x, name):
        return functional.linear(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"))

    evidence = torch.rand(2, len(EVIDENCE_CHANNELS), 10, 10) * 2 - 1
    x = evidence
    for number in range(5):
        name = f"extractor.convolutions.{number}"
        kernel, bias = (weights[f"{name}.convolution.{part}"] for part in ("weight", "bias"))
        mixed = functional.conv2d(x, kernel, bias, padding=1)
        mixed = mixed + linear(x.mean((2, 3)), f"{name}.of_means")[..., None, None]
        x = mixed.relu() + (x if number else 0)
    patches = x.flatten(2)
    scores = functional.conv1d(patches, weights["head.logits.weight"], weights["head.logits.bias"])[:, 0]
    pooled = torch.cat([patches.mean(2), patches.amax(2)], 1)
    value = linear(linear(pooled, "head.value.0").relu(), "value")[:, 0]
    torch.testing.assert_close(policy(evidence), (scores, value), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("side", [4, 10, 20])
def test_one_policy_serves_every_number_of_patches(side):
    policy = PromptingPolicy(8).for_side(side)
    scores, values = policy(torch.rand(2, len(EVIDENCE_CHANNELS), side, side))
    assert (scores.shape, values.shape) == ((2, side * side), (2,))


def test_ppo_begins_as_the_pretrained_policy(make_pretrained):
    learner = make_pretrained()
    learner.env.reset()
    episode, policy = learner.env.env.episode, learner.policy
    pretrained = load_prompting_policy(POLICY_WEIGHTS)
    for _ in range(3):
        observation = learner.env.env.observe()
        actions, _ = policy.predict(observation, deterministic=True)
        np.testing.assert_array_equal(actions, pretrained.choose(episode))
        seen, _ = policy.obs_to_tensor(observation)
        _, values = pretrained.for_side(4)(episode.evidence())
        torch.testing.assert_close(policy.predict_values(seen)[:, 0], values * UNIT, rtol=1e-4, atol=1e-6)
        episode.step(range(len(episode)), actions)


@pytest.mark.parametrize("algorithm", ["a2c", "dqn", "qrdqn", "maskable_ppo", "recurrent_ppo"])
def test_every_algorithm_begins_by_choosing_what_gains_most(make_toy_learner, algorithm):
    learner = make_toy_learner(algorithm, network=PRETRAINED, observation="evidence")
    learner.env.reset()
    environment, pretrained = learner.env.env, load_prompting_policy(POLICY_WEIGHTS)
    for _ in range(3):
        actions, _ = learner.policy.predict(environment.observe(), deterministic=True)
        np.testing.assert_array_equal(actions, pretrained.choose(environment.episode))
        environment.episode.step(range(len(actions)), actions)


@pytest.mark.parametrize("algorithm", ["ppo", "a2c", "maskable_ppo"])
def test_every_critic_begins_with_the_pretrained_value(make_toy_learner, algorithm):
    learner = make_toy_learner(algorithm, network=PRETRAINED, observation="evidence")
    seen, _ = learner.policy.obs_to_tensor(learner.env.reset())
    pretrained = load_prompting_policy(POLICY_WEIGHTS).for_side(4)
    _, expected = pretrained(seen["evidence"])
    torch.testing.assert_close(learner.policy.predict_values(seen)[:, 0], UNIT * expected)


def test_stopping_stands_for_no_gain(make_pretrained):
    policy = make_pretrained(stop=True).policy
    features = torch.rand(5, policy.features_dim) * 0.4  # nothing is visited
    np.testing.assert_array_equal(policy.mlp_extractor.forward_actor(features)[:, -1].detach(), 0)


def test_entropy_is_relative_to_the_start(make_pretrained):
    learner = make_pretrained()
    policy, observation = learner.policy, learner.env.reset()
    seen, _ = policy.obs_to_tensor(observation)
    actions = torch.tensor([0, 1, 2, 3])
    values, log_prob, entropy = policy.evaluate_actions(seen, actions)
    torch.testing.assert_close(values, policy.predict_values(seen))
    torch.testing.assert_close(log_prob, policy.get_distribution(seen).log_prob(actions))
    torch.testing.assert_close(entropy, torch.zeros(4), atol=1e-6, rtol=0)
    first = policy.get_distribution(seen).distribution
    with torch.no_grad():
        policy.mlp_extractor.logits.weight += 0.5 * torch.randn_like(policy.mlp_extractor.logits.weight)
    now = policy.get_distribution(seen).distribution
    _, _, entropy = policy.evaluate_actions(seen, actions)
    torch.testing.assert_close(-entropy, torch.distributions.kl_divergence(now, first), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("algorithm", ["ppo", "a2c"])
def test_a_loaded_learner_goes_on_with_the_same_loss(make_pretrained, algorithm, tmp_path):
    learner = make_pretrained(algorithm).learn(48)
    learner.save(tmp_path / "learner.zip")
    loaded = type(learner).load(tmp_path / "learner.zip", env=learner.env, device="cpu").policy
    learner.policy.save(tmp_path / "policy.pt")
    alone = type(loaded).load(tmp_path / "policy.pt", device="cpu")
    seen, _ = loaded.obs_to_tensor(learner.env.reset())
    evaluated, *again = (each.evaluate_actions(seen, torch.arange(4)) for each in (learner.policy, loaded, alone))
    torch.testing.assert_close(again, [evaluated] * 2, rtol=0, atol=0)
    assert (evaluated[2] < 0).all(), "it has moved from its start"


def test_looking_up_the_start_draws_nothing(make_pretrained):
    learner = make_pretrained()
    seen, _ = learner.policy.obs_to_tensor(learner.env.reset())
    before = torch.get_rng_state()
    learner.policy.evaluate_actions(seen, torch.arange(4))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_penalty_holds_the_policy_near_its_start(make_pretrained):
    moved = []
    for weight in (0.0, 10.0):
        learner = make_pretrained(agent={"ent_coef": weight, "learning_rate": 3e-3, "n_epochs": 5})
        learner.learn(48)
        seen, _ = learner.policy.obs_to_tensor(learner.env.reset())
        moved.append(-learner.policy.evaluate_actions(seen, torch.zeros(4, dtype=torch.int64))[2].mean().item())
    assert moved[1] < 0.5 * moved[0]


@pytest.mark.parametrize(
    ("algorithm", "network", "says"),
    [
        ("ppo", PRETRAINED | {"width": 8}, "of width 48"),
        ("ppo", PRETRAINED | {"network": "patch"}, "network=evidence"),
        ("ppo", PRETRAINED | {"init": "none", "kl_coef": 0.1}, r"kl_coef=0\.1 .* must be 0 with policy\.init=none"),
    ],
)
def test_what_fits_no_pretrained_weights_is_an_error(make_toy_learner, algorithm, network, says):
    observation = "evidence" if network["network"] == "evidence" else "patches"
    with pytest.raises(OptionError, match=says):
        make_toy_learner(algorithm, network=network, observation=observation)
