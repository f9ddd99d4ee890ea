"""Every algorithm on the toy environment, with options that suit a job of seconds."""

import pytest
from sb3_contrib import MaskablePPO  # noqa: F401  # the extra "test" has it

from alignsam_gym.agents.algorithms import ALGORITHMS, make_learner
from alignsam_gym.agents.vec_env import PromptVecEnv

NETWORK = {"network": "patch", "width": 8}
STEPS = 6
_PPO = {"n_steps": STEPS, "n_epochs": 2, "batch_size": 12, "learning_rate": 1e-3, "gamma": 0.9, "gae_lambda": 0.9}
_DQN = {
    "learning_rate": 1e-3, "gamma": 0.9, "buffer_size": 200, "learning_starts": 8, "train_freq": 1, "batch_size": 16,
    "target_update_interval": 16, "exploration_fraction": 0.5,
}  # fmt: skip
OPTIONS = {
    "ppo": _PPO,
    "a2c": {"n_steps": 3, "learning_rate": 1e-3},
    "dqn": _DQN,
    "qrdqn": _DQN | {"policy_kwargs": {"n_quantiles": 5}},
    "maskable_ppo": _PPO,
    "recurrent_ppo": _PPO | {"policy_kwargs": {"lstm_hidden_size": 8}},
}


@pytest.fixture(params=list(ALGORITHMS))
def algorithm(request):
    return request.param


@pytest.fixture
def make_toy_venv(make_toy_vec):
    """Some rows of the toy environment, 16 patches, episodes of 6 steps, revisits forbidden."""

    def make(num_envs=4, **options):
        keywords = {"max_steps": STEPS, "revisit": "forbid", "observation": "patches", **options}
        return PromptVecEnv(make_toy_vec(num_envs, autoreset_mode="SameStep", **keywords).unwrapped)

    return make


@pytest.fixture
def make_toy_learner(make_toy_venv):
    def make(algorithm, seed=0, network=NETWORK, agent=None, **options):
        agent = {"algorithm": algorithm, **OPTIONS[algorithm], **(agent or {})}
        return make_learner(make_toy_venv(**options), agent, network, seed)

    return make
