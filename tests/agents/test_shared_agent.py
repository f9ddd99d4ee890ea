"""One agent that several threads share."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from gymnasium.vector.utils import batch_space

from alignsam_gym import AlignSAM
from alignsam_gym.agents.agent_config import AgentConfig
from alignsam_gym.agents.agent_prompter import AgentPrompter
from alignsam_gym.envs.prompters import RandomPrompter, disagreement_prompter, grid_prompter, srm_prompter
from alignsam_gym.envs.prompting_session import PromptingSession

THREADS, ROUNDS = 4, 2
IMAGES = [np.random.default_rng(i).integers(0, 256, (40 + i, 64, 3), dtype=np.uint8) for i in range(THREADS)]


@pytest.fixture(autouse=True)
def eager_switching():
    """Threads take turns two hundred times as often as usual."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(2e-5)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def agent(make_toy_learner, algorithm):
    policy = make_toy_learner(algorithm, split="test").policy
    with torch.no_grad():  # an untrained head scores all images nearly alike
        for weights in policy.parameters():
            weights += 0.3 * torch.randn(weights.shape, generator=torch.Generator().manual_seed(len(weights)))
    episode = make_toy_learner(algorithm, split="test").get_env().env.episode
    return AlignSAM(episode, policy, AgentConfig({}, {}, {}, {}, "toy", None))


def in_threads(answer):
    """The answers of `ROUNDS` calls in each of `THREADS` threads, which begin together."""
    together = threading.Barrier(THREADS)

    def work(number):
        together.wait()
        return [answer(IMAGES[number]) for _ in range(ROUNDS)]

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(work, range(THREADS)))


def assert_each_as_alone(answer):
    alone = [answer(image) for image in IMAGES]
    assert len({points.tobytes() for points, _ in alone}) > 1
    for (points, mask), found in zip(alone, in_threads(answer), strict=True):
        for found_points, found_mask in found:
            np.testing.assert_array_equal(found_points, points)
            np.testing.assert_array_equal(found_mask, mask)


def finish(session, image):
    session.set_image(image)
    while session.step():
        pass
    prediction = session.prediction()
    return prediction.points, prediction.mask


def test_each_thread_is_answered_as_if_alone(agent):
    def answer(image):
        prediction = agent.predict(image)
        return prediction.points, prediction.mask

    assert_each_as_alone(answer)


def test_each_threads_draws_are_its_own(agent):
    def answer(image):
        prompter = AgentPrompter(agent.policy, deterministic=False, seed=7)
        return finish(PromptingSession(agent.rules, agent.model, agent.srm, prompter, store=agent._store), image)

    before = torch.get_rng_state()
    assert_each_as_alone(answer)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("algorithm", ["ppo"])
def test_a_draw_is_the_one_that_stable_baselines_makes_of_the_seed(agent):
    space = batch_space(agent.policy.observation_space, 3)
    space.seed(0)
    observation = space.sample()
    torch.manual_seed(11)
    expected, _ = agent.policy.predict(observation)
    drawn, _ = agent.policy.choose_actions(observation, None, torch.ones(3), torch.Generator().manual_seed(11))
    np.testing.assert_array_equal(drawn, expected)


@pytest.mark.parametrize("prompter", [RandomPrompter(3), grid_prompter, srm_prompter, disagreement_prompter])
@pytest.mark.parametrize("algorithm", ["ppo"])
def test_prompting_strategies_may_be_shared_too(agent, prompter):
    def answer(image):
        return finish(PromptingSession(agent.rules, agent.model, agent.srm, prompter), image)

    assert_each_as_alone(answer)
