"""What must hold on any device: it answers as the CPU does, a seed repeats, and a training goes on where it stopped."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import Tensor

from alignsam_gym.agents.training_state import Curves, load_training_state, save_training_state
from alignsam_gym.agents.vec_env import PromptVecEnv
from alignsam_gym.experiments.benchmark import Architecture
from alignsam_gym.experiments.benchmark.environment_speed import our_environments
from alignsam_gym.experiments.benchmark.models import Scenes, benchmark_model
from alignsam_gym.experiments.benchmark.training_speed import our_learner
from alignsam_gym.foundation.sam.predictor import BatchedSamPredictor

ENVIRONMENTS, STEPS, ROUNDS = 4, 3, 4
_ROUND = ENVIRONMENTS * STEPS
_TOLERANCE = 0.01  # of logits, most of which are between 1 and 10


@contextmanager
def full_float32() -> Iterator[None]:
    """Keep TensorFloat-32, of three digits, out of convolutions, where PyTorch takes it on CUDA by default."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


@full_float32()
def check_device(device: str) -> dict[str, Any]:
    """Check a device with the embedded SAM, its convolutions in full float32.

    Args:
        device: Its name.

    Returns:
        The largest differences of logits from those of the CPU, and of an agent's weights from those of a second
        training with the same seed and from those of one that was interrupted; and whether all of it ``holds``.
    """
    model = benchmark_model(Architecture.tiny, device)
    answers = _answers(model)
    to_cpu = float((answers - _answers(benchmark_model(Architecture.tiny, "cpu"))).abs().max())
    with tempfile.TemporaryDirectory() as folder:
        cache, state = Path(folder), Path(folder) / "checkpoint.pt"
        whole = _train(_learner(model, cache), ROUNDS)
        again = _train(_learner(model, cache), ROUNDS)
        interrupted = _learner(model, cache)
        _train(interrupted, ROUNDS // 2)
        save_training_state(state, interrupted, _environments(interrupted).env, Curves())
        resumed = _learner(model, cache)
        load_training_state(state, resumed, _environments(resumed).env)
        differences = {
            "to_cpu": to_cpu,
            "same_seed": _largest_difference(whole, again),
            "resumed": _largest_difference(whole, _train(resumed, ROUNDS - ROUNDS // 2)),
        }
    holds = to_cpu <= _TOLERANCE and differences["same_seed"] == differences["resumed"] == 0
    told = ", ".join(f"{name} {difference:.1e}" for name, difference in differences.items())
    print(f"largest differences: {told}; {'as it must be' if holds else 'THIS DEVICE FAILS THE CHECKS'}")
    return {"differences": differences, "holds": holds}


def _answers(model: BatchedSamPredictor) -> Tensor:
    """Logits, on the CPU, of the same prompts on the same images."""
    generator = torch.Generator().manual_seed(0)
    encodings = model.encode([Scenes(ENVIRONMENTS)[index].image for index in range(ENVIRONMENTS)])
    points = torch.rand(ENVIRONMENTS, STEPS, 2, generator=generator).to(model.device)
    labels = torch.randint(0, 2, (ENVIRONMENTS, STEPS), generator=generator).to(model.device)
    rows = torch.arange(ENVIRONMENTS)
    return model.decode(model.prepare_image(encodings), rows, points, labels).cpu()


def _learner(model: BatchedSamPredictor, cache: Path) -> BaseAlgorithm:
    return our_learner(our_environments(model, Scenes(ENVIRONMENTS), ENVIRONMENTS, STEPS, cache_dir=cache), STEPS)


def _environments(learner: BaseAlgorithm) -> PromptVecEnv:
    envs = learner.get_env()
    assert isinstance(envs, PromptVecEnv)
    return envs


def _train(learner: BaseAlgorithm, rounds: int) -> dict[str, Tensor]:
    """Train for so many rollouts, and return all weights, on the CPU."""
    learner.learn(rounds * _ROUND, reset_num_timesteps=False)
    srm = _environments(learner).env.episode.srm
    parts = {"policy": learner.policy, "srm": srm.members}
    return {f"{part}.{name}": value.cpu().clone() for part in parts for name, value in parts[part].state_dict().items()}


def _largest_difference(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    return max(float((first[name].double() - second[name].double()).abs().max()) for name in first)
