import numpy as np
import pytest
import torch

from alignsam_gym.agents.agent_prompter import AgentPrompter
from alignsam_gym.agents.compact_rollouts import CompactRolloutBuffer
from alignsam_gym.errors import OptionError

FULL = {"network": "full_cnn", "width": 8}


@pytest.fixture
def make_full(make_toy_learner):
    def make(algorithm, **options):
        return make_toy_learner(algorithm, network=FULL, observation="cells", **options)

    return make


def _pairs(states, actions):
    """States with the actions taken in them, in an order of their own."""
    return sorted((state.tobytes(), int(action)) for state, action in zip(states, actions, strict=True))


def test_a_rollout_keeps_indices_and_masks_and_gives_each_action_the_state_that_it_was_taken_in(make_full):
    learner, seen, taken = make_full("ppo"), [], []

    def remember(variables, _):
        seen.append(variables["self"]._last_obs["state"].copy())
        taken.append(variables["actions"].copy())
        return True

    learner.train = lambda: None
    learner.learn(24, callback=remember)
    buffer = learner.rollout_buffer
    assert isinstance(buffer, CompactRolloutBuffer)
    assert set(buffer.observations) == {"image", "maps", "visited"}
    assert sum(part.nbytes for part in buffer.observations.values()) < np.stack(seen).nbytes / 10
    given = next(buffer.get(24))
    states = given.observations["state"].numpy()
    assert _pairs(states, given.actions) == _pairs(np.concatenate(seen), np.concatenate(taken))


@pytest.mark.parametrize("algorithm", ["ppo", "a2c"])
@pytest.mark.parametrize("revisit", ["allow", "forbid"])
def test_on_policy_algorithms_learn_from_whole_states(make_full, algorithm, revisit):
    learner = make_full(algorithm, revisit=revisit)
    before = {name: value.clone() for name, value in learner.policy.state_dict().items()}
    learner.learn(24)
    changed = [name for name, value in learner.policy.state_dict().items() if not torch.equal(value, before[name])]
    assert any(name.startswith("features_extractor.convolutions") for name in changed)
    actions = AgentPrompter(learner.policy, deterministic=True)(learner.get_env().env.episode)
    assert actions.shape == (4,)


@pytest.mark.parametrize("algorithm", ["dqn", "qrdqn", "maskable_ppo", "recurrent_ppo"])
def test_others_would_keep_every_state_whole(make_full, algorithm):
    with pytest.raises(OptionError, match="take agent=ppo or a2c, or policy=cnn"):
        make_full(algorithm)
