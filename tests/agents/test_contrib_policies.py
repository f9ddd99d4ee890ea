import numpy as np
import torch

from alignsam_gym.agents.agent_prompter import AgentPrompter


def test_what_was_seen_before_can_change_a_choice(make_toy_learner):
    """The same state after two histories: the memory differs, and so do the logits."""
    model = make_toy_learner("recurrent_ppo")
    torch.nn.init.orthogonal_(model.policy.mlp_extractor.remembered.weight, gain=5)
    first, second = (model.get_env().reset() for _ in range(2))
    start, going = np.ones(4, bool), np.zeros(4, bool)
    _, memory = model.policy.predict(first, None, start)
    _, other = model.policy.predict(second, None, start)
    assert not np.allclose(memory[0], other[0])
    logits = []
    for past in (memory, other):
        states = tuple(torch.from_numpy(part) for part in past)
        observation = model.policy.obs_to_tensor(second)[0]
        distribution, _ = model.policy.get_distribution(observation, states, torch.from_numpy(going).float())
        logits.append(distribution.distribution.logits)
    assert not torch.allclose(*logits)


def test_a_prompters_memory_begins_anew_with_every_episode(make_toy_learner):
    model = make_toy_learner("recurrent_ppo", split="test")
    torch.nn.init.orthogonal_(model.policy.mlp_extractor.remembered.weight, gain=5)
    episode = model.get_env().env.episode
    prompter = AgentPrompter(model.policy, deterministic=True)
    played = []
    for images in ([0, 1, 2, 3], [4, 3, 2, 1], [0, 1, 2, 3]):
        episode.reset(range(4), images, [np.random.default_rng(0)] * 4)
        chosen = []
        for _ in range(4):
            chosen.append(prompter(episode))
            episode.step(range(4), chosen[-1])
        played.append(np.array(chosen))
    np.testing.assert_array_equal(played[0], played[2])


def test_masks_that_are_given_are_heeded(make_toy_learner):
    model = make_toy_learner("maskable_ppo", revisit="allow")
    masks = np.zeros((4, 16), bool)
    masks[:, 7] = True
    chosen, _ = model.predict(model.get_env().reset(), action_masks=masks)
    assert (chosen == 7).all()
