"""Nothing makes a float64 tensor on a device, as some, such as Apple's MPS, have none.

Everything runs on an emulated device that refuses them. NumPy's arrays and tensors on the CPU may be float64: a reward,
a point in pixels and the sums of metrics are, and never go to the device as such.
"""

from typing import get_args

import gymnasium as gym
import numpy as np
import pytest
import torch

from alignsam_gym import AlignSAM
from alignsam_gym.agents.agent_config import AgentConfig
from alignsam_gym.agents.agent_prompter import AgentPrompter
from alignsam_gym.agents.algorithms import make_learner
from alignsam_gym.agents.vec_env import PromptVecEnv
from alignsam_gym.baselines import make_baseline
from alignsam_gym.data import Subset, load_dataset
from alignsam_gym.envs.prompting_session import PromptingSession
from alignsam_gym.envs.rules import InitialPrompts, LabelSource
from alignsam_gym.evaluation.baseline_evaluation import score_baseline
from alignsam_gym.evaluation.prompting_evaluation import score_prompting
from alignsam_gym.evaluation.prompting_strategies import _known_strategies, played_by
from alignsam_gym.foundation.devices import resolve_device
from alignsam_gym.foundation.encoding.embedding_store import RecentStore
from alignsam_gym.foundation.encoding.encoded_dataset import EncodedDataset
from alignsam_gym.foundation.sam.decode_calibration import fastest_batch
from alignsam_gym.foundation.sam.predictor import BatchedSamPredictor, load_sam
from alignsam_gym.state import StateKind
from tests.agents.conftest import NETWORK, OPTIONS
from tests.conftest import ToyDataset, build_toy_sam
from tests.emulated_device import emulated_device

_FIT = {"steps": 2, "batch_size": 2, "learning_rate": 1e-3, "weight_decay": 0.1}
BASELINES = [
    {"name": "persam", "references": 1, "cells": "majority", "multimask": True, "boxes": True},
    {"name": "persam_f", "references": 1, "cells": "majority", "steps": 2, "learning_rate": 1e-3},
    {"name": "samed", "rank": 2, "dice": 0.8, "warmup": 2, **_FIT},
    {"name": "msa", "ratio": 0.25, "scale": 0.5, "positive_weight": 2.0, **_FIT},
    {"name": "clip_points", "clip": "tiny", "threshold": 0.8, "down_sample": 2, "multimask": True},
]
GAME = {"image_size": 64, "patch_size": 16, "max_steps": 6}


@pytest.fixture(autouse=True)
def device():
    with emulated_device() as device:
        yield device


@pytest.fixture
def model(device):
    return BatchedSamPredictor(build_toy_sam(), "toy", device)


@pytest.fixture
def make(model):
    def make(kind=gym.make, **options):
        game = {"dataset": ToyDataset(), "sam": model, "srm": {"width": 8}, **GAME, **options}
        return kind("alignsam_gym:AlignSAM-v0", **game).unwrapped

    return make


@pytest.fixture
def venv(make):
    def venv(**options):
        more = {"vectorization_mode": "vector_entry_point", "autoreset_mode": "SameStep", "observation": "patches"}
        return PromptVecEnv(make(gym.make_vec, num_envs=2, revisit="forbid", **more, **options))

    return venv


def play(env):
    """Three steps, of which everything is a number."""
    env.reset(seed=0)
    rewards = [env.step(action)[1] for action in (3, 5, 0)]
    assert np.isfinite(rewards).all()
    for logits in (env.episode.logits, env.episode.srm_logits):
        assert logits.isfinite().all()


def test_the_device_refuses_float64(device):
    for attempt in (
        lambda: torch.zeros(2, dtype=torch.float64, device=device),
        lambda: torch.tensor(np.zeros(2), device=device),
        lambda: torch.zeros(2, device=device).double(),
        lambda: torch.zeros(2, dtype=torch.float64).to(device),
    ):
        with pytest.raises(TypeError, match="float64"):
            attempt()
    with pytest.raises(RuntimeError, match="same device"):
        torch.zeros(2, device=device) + torch.zeros(2)
    assert resolve_device(str(device)) == device


@pytest.mark.parametrize("label_source", get_args(LabelSource))
@pytest.mark.parametrize("state", get_args(StateKind))
def test_steps(make, label_source, state):
    options = {"label_source": label_source, "state": state, "reward": {"foreground": 0.5, "delta_iou": 2.0}}
    if label_source == "clip":
        options |= {"dataset": "shapes", "shots": 1}
    play(make(**options))


def test_the_embedded_models(device, make):
    models = {"sam": load_sam("tiny", device, "float32"), "clip": "tiny", "srm": {"width": 8, "features": "both"}}
    play(make(**models, shots=1))


@pytest.mark.parametrize("initial_prompts", get_args(InitialPrompts))
def test_initial_prompts(make, initial_prompts):
    play(make(initial_prompts=initial_prompts, dataset="shapes", shots=1))


@pytest.mark.parametrize(
    "srm", [{}, {"folds": 2, "early_stopping_interval": 2}, {"dropout": 0.5, "full_mask_every": 2}]
)
def test_the_srm_learns(make, srm):
    play(make(branch="explicit", dataset="shapes", shots=4, stop=True, srm={"width": 8, **srm}))


@pytest.mark.parametrize(
    "algorithm",
    ["ppo", "dqn", *(pytest.param(name, marks=pytest.mark.slow) for name in ("a2c", "maskable_ppo", "qrdqn"))],
)
def test_training_and_prediction(venv, algorithm):
    model = make_learner(venv(state="guided"), {"algorithm": algorithm, **OPTIONS[algorithm]}, NETWORK, seed=0)
    model.learn(12)
    test = venv(split="test", srm=model.get_env().env.srm, state="guided").env.episode
    agent = AlignSAM(test, model.policy, AgentConfig({}, {}, {}, {}, "toy", None))
    for deterministic in (True, False):
        prompter = AgentPrompter(agent.policy, deterministic)
        session = PromptingSession(agent.rules, agent.model, agent.srm, prompter)
        session.set_image(np.zeros((50, 70, 3), np.uint8))
        while session.step():
            session.add_point(10.5, 20.0, positive=True)
            answer = session.prediction()
        assert answer.mask.shape == answer.probability.shape == (50, 70)
        assert np.isfinite(answer.probability).all()


@pytest.mark.slow
def test_every_prompting_strategy_is_measured(venv):
    env = venv(branch="explicit", split="test", dataset="shapes", max_steps=2)
    policy = make_learner(env, {"algorithm": "ppo", **OPTIONS["ppo"]}, NETWORK, seed=0).policy
    agent = AgentPrompter(policy, deterministic=False)
    for strategy in _known_strategies(agent, untrained=agent, seed=0).values():
        with played_by(env.env.episode, strategy.rules):
            assert len(score_prompting(env.env.episode, [0, 1], strategy.prompter)) == 2


@pytest.mark.parametrize("method", BASELINES, ids=lambda options: options["name"])
def test_baselines(model, method):
    samples = EncodedDataset(Subset(load_dataset("shapes", "test"), range(3)), model, RecentStore(), 64)
    baseline = make_baseline(model, method)
    baseline.fit(samples, seed=0)
    assert score_baseline(baseline, samples, None, batch_size=2).totals.images == 3
    assert baseline.predict(samples, [0]).isfinite().all()


def test_the_best_batch_is_measured(model):
    assert fastest_batch(model) >= 1
