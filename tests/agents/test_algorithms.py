import sys
from collections import Counter
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from sb3_contrib import MaskablePPO
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.vec_env import DummyVecEnv

from alignsam_gym.agents.agent_weights import load_agent, save_agent
from alignsam_gym.agents.algorithms import ALGORITHMS, make_learner, make_policy
from alignsam_gym.errors import OptionError

CONF = Path(__file__).parents[2] / "conf"
CNN = {"network": "cnn", "width": 8}
OWN = ("n_quantiles", "lstm_hidden_size")
DQN_LONG = {"gradient_steps": 2, "batch_size": 64, "buffer_size": 3000, "target_update_interval": 100}
DQN_LONG |= {"learning_starts": 200}


def play(policy, venv, steps):
    """Actions (steps, rows) of a policy."""
    venv.seed(5)
    observation, memory, actions = venv.reset(), None, []
    first = np.ones(venv.num_envs, bool)
    for _ in range(steps):
        chosen, memory = policy.predict(observation, memory, episode_start=first, deterministic=True)
        observation, _, first, _ = venv.step(chosen)
        actions.append(chosen)
    return np.array(actions)


@pytest.mark.parametrize(("network", "stop"), [("patch", False), ("cnn", True)])
def test_learns_is_saved_and_chooses_the_same_when_loaded(make_toy_learner, algorithm, network, stop, tmp_path):
    network = {"network": network, "width": 8}
    model = make_toy_learner(algorithm, network=network, stop=stop)
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    model.learn(72)
    moved = [name for name, value in model.policy.state_dict().items() if not value.equal(before[name])]
    assert len(moved) > len(before) / 2
    venv = model.get_env()
    save_agent(tmp_path, model.policy, venv.env.episode.srm)
    options = {"algorithm": algorithm, "policy_kwargs": {k: v for k, v in model.policy_kwargs.items() if k in OWN}}
    loaded = make_policy(venv, options, network, seed=0)
    assert all(value.equal(before[name]) for name, value in loaded.state_dict().items()), "as the training began"
    load_agent(tmp_path, loaded, venv.env.episode.srm)
    chosen = play(model.policy, venv, 4)
    np.testing.assert_array_equal(play(loaded, venv, 4), chosen)
    assert chosen.max() < 16 + stop


# sb3-contrib's save of a recurrent policy does not keep the LSTM's size.
@pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if name != "recurrent_ppo"])
def test_a_policy_alone_is_saved_and_loaded_by_sb3s_own_methods(make_toy_learner, algorithm, tmp_path):
    policy = make_toy_learner(algorithm).policy
    policy.save(tmp_path / "policy.pt")
    loaded = type(policy).load(tmp_path / "policy.pt", device="cpu")
    for name, value in policy.state_dict().items():
        assert loaded.state_dict()[name].equal(value)


def test_no_visited_patch_is_ever_chosen(make_toy_learner, algorithm):
    """Neither by the policy nor by exploration, over episodes that take 15 of the 16 patches."""
    model = make_toy_learner(algorithm, max_steps=15)
    repeated = []
    model.learn(120, callback=lambda local, _: repeated.extend(info["repeated"] for info in local["infos"]) or True)
    assert len(repeated) == 120
    assert not any(repeated)
    chosen = play(model.policy, model.get_env(), 15)
    assert all(len(set(column)) == 15 for column in chosen.T)


def test_revisits_may_be_allowed(make_toy_learner, algorithm):
    model = make_toy_learner(algorithm, revisit="allow").learn(48)
    assert play(model.policy, model.get_env(), 3).shape == (3, 4)


@pytest.mark.parametrize("convention", ["vector", "single"])
def test_maskable_ppo_works_as_its_own_library_says(make_toy_venv, make_toy, convention):
    if convention == "vector":
        venv = make_toy_venv(max_steps=15)
    else:
        venv = DummyVecEnv([lambda: make_toy(max_steps=15, revisit="forbid", observation="patches")])
    model = MaskablePPO("MultiInputPolicy", venv, n_steps=15, batch_size=15, n_epochs=1, seed=0)
    chosen = Counter()
    model.learn(45, callback=lambda local, _: chosen.update(info["repeated"] for info in local["infos"]) or True)
    assert chosen[True] == 0
    assert chosen[False] >= 45
    assert not model.rollout_buffer.action_masks.all()


def test_our_maskable_ppo_is_given_the_masks(make_toy_learner):
    model = make_toy_learner("maskable_ppo").learn(24)
    masks = model.rollout_buffer.action_masks.reshape(4, 6, 16)
    np.testing.assert_array_equal((~masks.astype(bool)).sum(2), np.tile(np.arange(6), (4, 1)))


def test_observations_are_kept_as_they_are(make_toy_learner):
    """In half precision, in rollouts and in replay buffers."""
    for algorithm, name in (("ppo", "rollout_buffer"), ("dqn", "replay_buffer")):
        buffer = getattr(make_toy_learner(algorithm), name)
        assert buffer.observations["patches"].dtype == np.float16


def test_learners_are_their_libraries_own(make_toy_learner):
    for name, kind in {"ppo": PPO, "dqn": DQN, "maskable_ppo": MaskablePPO}.items():
        assert isinstance(make_toy_learner(name), kind)


@pytest.mark.parametrize("name", ["qrdqn", "maskable_ppo", "recurrent_ppo"])
def test_without_sb3_contrib_the_error_says_what_to_install(make_toy_venv, monkeypatch, name):
    for module in [module for module in sys.modules if module.split(".")[0] == "sb3_contrib"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delitem(sys.modules, "alignsam_gym.agents.contrib_policies", raising=False)
    monkeypatch.setitem(sys.modules, "sb3_contrib", None)
    with pytest.raises(OptionError, match=r"pip install 'alignsam-gym\[contrib\]'"):
        make_policy(make_toy_venv(), {"algorithm": name}, CNN)


def test_unknown_names_and_options_are_told(make_toy_venv):
    venv = make_toy_venv()
    with pytest.raises(OptionError, match=r"agent\.algorithm='sac'.*qrdqn"):
        make_learner(venv, {"algorithm": "sac"}, CNN, 0)
    with pytest.raises(OptionError, match=r"policy\.network='vit'.*patch"):
        make_learner(venv, {"algorithm": "ppo"}, {"network": "vit", "width": 8}, 0)
    with pytest.raises(OptionError, match="agent=a2c has no option clip_range"):
        make_learner(venv, {"algorithm": "a2c", "clip_range": 0.2}, CNN, 0)
    with pytest.raises(OptionError, match="agent=ppo has no option device, seed"):
        make_learner(venv, {"algorithm": "ppo", "device": "cpu", "seed": 1}, CNN, 0)
    with pytest.raises(OptionError, match=r"policy got an .* 'depth'; it takes init, kl_coef, network, width"):
        make_learner(venv, {"algorithm": "ppo"}, CNN | {"depth": 3}, 0)


def test_conf_offers_every_algorithm_with_options_that_it_has(make_toy_venv):
    assert {file.stem for file in (CONF / "agent").glob("*.yaml")} == set(ALGORITHMS)
    venv = make_toy_venv(num_envs=25, observation="evidence")
    for name in ALGORITHMS:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = compose("train", [f"agent={name}", "agent.buffer_size=100" if "dqn" in name else "seed=1"])
        assert config.agent.algorithm == name
        make_learner(venv, config.agent, config.policy, 0)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["a2c", "dqn", "maskable_ppo", "recurrent_ppo"])
def test_learns_to_hit_the_target(make_toy_learner, algorithm):
    """Five images, true labels, the paper's reward: the foreground rate rises well over chance."""
    long = {"learning_rate": 5e-3, "gamma": 0.5}
    long |= DQN_LONG if algorithm == "dqn" else {}
    options = {"max_steps": 3, "label_source": "oracle", "reward": "foreground", "revisit": "allow"}
    model = make_toy_learner(algorithm, num_envs=10, agent=long, network={"network": "patch", "width": 16}, **options)
    rates = []

    def record(local, _):
        rates.append(np.mean([info["foreground"] for info in local["infos"]]))
        return True

    model.learn(2000 if algorithm == "dqn" else 1500, callback=record)
    assert np.mean(rates[-30:]) > np.mean(rates[:10]) + 0.2


def test_actor_and_critic_can_have_an_extractor_each(make_toy_learner):
    learner = make_toy_learner("ppo", agent={"policy_kwargs": {"share_features_extractor": False}})
    actor, critic = learner.policy.pi_features_extractor, learner.policy.vf_features_extractor
    assert actor is not critic
    before = [deepcopy(part.state_dict()) for part in (actor, critic)]
    learner.learn(24)
    for part, was in zip((actor, critic), before, strict=True):
        assert any(not torch.equal(value, was[name]) for name, value in part.state_dict().items())
