"""A trained policy that prompts."""

import numpy as np
import pytest
import torch

from alignsam_gym.agents.agent_prompter import AgentPrompter


@pytest.fixture
def play(make_toy_learner):
    """Plays an episode of 4 rows by a policy to which all 16 patches are alike; gives the actions, (steps, rows)."""
    learner = make_toy_learner("ppo", revisit="allow", split="test")
    torch.nn.init.zeros_(learner.policy.mlp_extractor.logits.weight)
    torch.nn.init.zeros_(learner.policy.mlp_extractor.logits.bias)

    def episode(seed, indices=(0, 1, 2, 3)):
        envs, prompter, actions = learner.get_env().env, AgentPrompter(learner.policy, False, seed), []
        envs.reset(seed=0, options={"index": list(indices)})
        for _ in range(6):
            actions.append(prompter(envs.episode))
            envs.step(actions[-1])
        return np.array(actions)

    return episode


def test_a_draw_depends_on_the_seed_the_images_and_the_step(play):
    drawn = play(seed=0)
    np.testing.assert_array_equal(play(seed=0), drawn)
    assert not np.array_equal(play(seed=1), drawn)
    assert not np.array_equal(play(seed=0, indices=(0, 1, 2, 4)), drawn)
    assert all(len(set(row)) > 1 for row in drawn.T), "steps of one episode differ"
