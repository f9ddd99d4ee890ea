import numpy as np
import pytest
import torch

from alignsam_gym.agents.q_policies import ActionValues


@pytest.fixture(params=["dqn", "qrdqn"])
def learner_and_q(request, make_toy_learner):
    """A learner, and its Q (rows, actions) of an observation: for QR-DQN the mean of the quantiles."""
    model = make_toy_learner(request.param, stop=True)

    def q_values(observation):
        network = model.policy.q_net if request.param == "dqn" else model.policy.quantile_net
        with torch.no_grad():
            q = network(model.policy.obs_to_tensor(observation)[0])
        return q if q.ndim == 2 else q.mean(1)

    return model, q_values


def test_visited_patches_are_worth_least_and_stopping_is_never_forbidden(learner_and_q):
    model, q_values = learner_and_q
    observation = model.get_env().reset()
    observation["visited"][:, 5:] = 1
    q = q_values(observation)
    assert q.shape == (4, 17)
    assert (q[:, 5:16] < -1e7).all()
    assert (q[:, [0, 1, 2, 3, 4, 16]].abs() < 10).all()
    observation["visited"][:] = 1
    assert (q_values(observation).abs() < 10).all(), "where nothing is left, all may be chosen"


def test_values_are_the_states_and_the_actions_advantages(make_toy_learner):
    """A dueling head: over all actions the advantages are zero on average, so the mean of Q is V."""
    model = make_toy_learner("dqn")
    network = model.policy.q_net
    assert isinstance(network.q_net, ActionValues)
    observation = model.policy.obs_to_tensor(model.get_env().reset())[0]
    with torch.no_grad():
        features = network.extract_features(observation, network.features_extractor)
        value = network.q_net.value(network.q_net.head.forward_critic(features))
        torch.testing.assert_close(network(observation).mean(1, keepdim=True), value)


def test_each_environment_explores_for_itself_among_what_is_left(make_toy_learner):
    model = make_toy_learner("dqn", num_envs=40)
    model._setup_learn(1000)
    model.num_timesteps, model.exploration_rate = 1000, 0.5
    visited = model.env.env.episode.visited
    visited[:, :12] = True
    model._last_obs = model.env.env.observe()
    greedy, _ = model.policy.predict(model._last_obs)
    drawn = np.array([model._sample_action(0, None, 40)[0] for _ in range(50)])
    assert (drawn >= 12).all()
    differing = (drawn != greedy).mean(1)
    assert 0.2 < differing.mean() < 0.55  # half explore, a quarter of which meet the greedy patch by chance
    assert differing.max() < 0.9, "never all at once"
    model.num_timesteps = 0
    assert (model._sample_action(10, None, 40)[0] != greedy).mean() > 0.5


@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.parametrize("algorithm", ["dqn", "qrdqn"])
def test_prediction_explores_among_what_the_observation_leaves(make_toy_learner, algorithm, stop):
    model = make_toy_learner(algorithm, num_envs=16, stop=stop)
    model.exploration_rate = 1.0
    observation = model.get_env().reset()
    observation["visited"][:, :12] = 1
    drawn = np.array([model.predict(observation)[0] for _ in range(40)])
    assert set(drawn.flat) == set(range(12, 16 + stop))
    one = {name: part[0] for name, part in observation.items()}
    alone = [model.predict(one)[0] for _ in range(50)]
    assert {choice.shape for choice in alone} == {()}
    assert set(np.array(alone)) == set(range(12, 16 + stop))
    observation["visited"][:] = 1
    assert len({*np.ravel([model.predict(observation)[0] for _ in range(40)])}) == 16 + stop, "nothing is left"


def test_prediction_explores_everywhere_where_revisits_are_allowed(make_toy_learner):
    model = make_toy_learner("dqn", num_envs=16, revisit="allow")
    model.exploration_rate = 1.0
    observation = model.get_env().reset()
    assert len({*np.ravel([model.predict(observation)[0] for _ in range(40)])}) == 16


def test_a_deterministic_prediction_neither_explores_nor_draws(make_toy_learner):
    model = make_toy_learner("dqn", num_envs=16)
    model.exploration_rate = 1.0
    observation = model.get_env().reset()
    greedy, _ = model.policy.predict(observation)
    before = torch.get_rng_state()
    np.testing.assert_array_equal(model.predict(observation, deterministic=True)[0], greedy)
    assert torch.equal(torch.get_rng_state(), before)
    model.exploration_rate = 0.5
    differing = np.array([(model.predict(observation)[0] != greedy).mean() for _ in range(30)])
    assert 0.3 < differing.mean() < 0.6
    assert 0 < differing.min() < differing.max() < 0.9, "never all at once"
