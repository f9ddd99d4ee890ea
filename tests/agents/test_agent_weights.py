import pytest
import torch

from alignsam_gym.agents.agent_weights import POLICY, SRM_WEIGHTS, load_agent, save_agent
from alignsam_gym.agents.algorithms import make_policy
from alignsam_gym.errors import WeightsError
from alignsam_gym.state import State


def test_a_saved_agent_is_the_same(make_toy_learner, make_toy_venv, tmp_path):
    model = make_toy_learner("ppo").learn(24)
    env = model.get_env().env
    save_agent(tmp_path, model.policy, env.episode.srm)
    venv = make_toy_venv()
    policy = make_policy(venv, {"algorithm": "ppo"}, {"network": "patch", "width": 8})
    load_agent(tmp_path, policy, venv.env.episode.srm)
    observation = env.observe()
    expected = model.policy.get_distribution(model.policy.obs_to_tensor(observation)[0]).distribution.logits
    loaded = policy.get_distribution(policy.obs_to_tensor(observation)[0]).distribution.logits
    torch.testing.assert_close(loaded, expected)
    embeddings = env.episode.embeddings
    states = State(embeddings, env.episode.mask[:, None], embeddings[:, :0])
    torch.testing.assert_close(venv.env.episode.srm.logits(states), env.episode.srm.logits(states))


def test_its_files_are_as_open_to_others_as_any(make_toy_learner, tmp_path):
    model = make_toy_learner("ppo")
    save_agent(tmp_path, model.policy, model.get_env().env.episode.srm)
    (tmp_path / "any").touch()
    assert len({file.stat().st_mode for file in tmp_path.iterdir()}) == 1
    assert {file.name for file in tmp_path.iterdir()} == {POLICY, SRM_WEIGHTS, "any"}


def test_loading_says_what_is_wrong(make_toy_venv, tmp_path):
    venv = make_toy_venv()
    policy = make_policy(venv, {"algorithm": "ppo"}, {"network": "patch", "width": 8})
    with pytest.raises(WeightsError, match=r"policy\.safetensors"):
        load_agent(tmp_path, policy, venv.env.episode.srm)
    with pytest.raises(WeightsError, match=r"finished\? If not, go on with it: alignsam train resume="):
        load_agent(tmp_path, policy, venv.env.episode.srm)


def test_weights_of_another_algorithm_are_refused(make_toy_learner, make_toy_venv, tmp_path):
    model = make_toy_learner("dqn")
    save_agent(tmp_path, model.policy, model.get_env().env.episode.srm)
    venv = make_toy_venv()
    policy = make_policy(venv, {"algorithm": "ppo"}, {"network": "patch", "width": 8})
    with pytest.raises(WeightsError, match="does not hold this agent"):
        load_agent(tmp_path, policy, venv.env.episode.srm)


@pytest.mark.parametrize("broken", ["policy", "srm"])
def test_weights_that_are_no_numbers_are_refused_by_name(make_toy_learner, make_toy_venv, tmp_path, broken):
    model = make_toy_learner("ppo")
    srm = model.get_env().env.episode.srm
    weight = model.policy.value_net.bias if broken == "policy" else srm.members[0].head.bias
    weight.data[0] = torch.nan
    save_agent(tmp_path, model.policy, srm)
    venv = make_toy_venv()
    policy = make_policy(venv, {"algorithm": "ppo"}, {"network": "patch", "width": 8})
    name = {"policy": "value_net.bias", "srm": "0.head.bias"}[broken]
    with pytest.raises(WeightsError, match=rf"{broken}\.safetensors holds NaN or infinite weights, in {name}:"):
        load_agent(tmp_path, policy, venv.env.episode.srm)
