"""Whole episodes: our vector environment, the bare batched decoder, and the reference implementation's environments."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.vec_env import DummyVecEnv

from alignsam_gym.agents.vec_env import make_environments
from alignsam_gym.envs.alignsam_vector_env import AlignSAMVectorEnv
from alignsam_gym.experiments.benchmark.models import Scenes, Setting, benchmark_model
from alignsam_gym.experiments.benchmark.reference_implementation import SIDE, reference_environments
from alignsam_gym.experiments.benchmark.timing import alternate, statistics
from alignsam_gym.foundation.sam.predictor import BatchedSamPredictor
from alignsam_gym.result_table import ResultTable

STEPS = 15
SRM = {"width": 32, "learning_rate": 1e-3, "batch_size": 8}


def time_environments(setting: Setting) -> dict[str, Any]:
    """Time steps of whole episodes; the ratio is the bare batched decoder's time over ours, which has the SRM too."""
    count, rounds, steps = (2, 1, 2) if setting.quick else (16, 3, STEPS)
    model, data = benchmark_model(setting.sam, setting.device, encoder=False), Scenes(count)
    with tempfile.TemporaryDirectory() as cache:
        train = our_environments(model, data, count, steps, cache_dir=cache)
        frozen = our_environments(model, data, count, steps, cache_dir=cache, split="test", srm=train.episode.srm)
        reference = reference_environments(model, data, count, steps, SRM)
        plain = reference_environments(model, data, count, steps, None)
        for envs in (train, frozen, reference, plain):
            envs.reset()
        strategies: dict[str, Callable[[], object]] = {
            "ours": partial(play_episodes, train, steps),
            "ours, SRM frozen": partial(play_episodes, frozen, steps),
            "bare decoder": partial(_decode, train),
            "reference": partial(play_episodes, reference, steps),
            "reference, no SRM": partial(play_episodes, plain, steps),
        }
        seconds = alternate(strategies, rounds, model.device)
    compared = {
        name: statistics({"ours": seconds["ours"], name: seconds[name]}, count * steps)
        for name in strategies
        if name != "ours"
    }
    each = {"ours": compared["reference"]["ours"], **{name: found[name] for name, found in compared.items()}}
    rows = []
    for name, found in each.items():
        ratio = f"{compared[name]['ratio']:.2f}" if name in compared else "1.00"
        rows.append([name, f"{found['median']:.1f} ± {found['spread']:.1f}", ratio])
    title = f"{count} environments, {steps} steps, {setting.sam}"
    ResultTable(["implementation", "ms a step", "its time over ours"], rows, title).print()
    ratio = compared["bare decoder"]["ratio"]
    reference_ratio = compared["reference"]["ratio"]
    what = f"the bare decoder's time over ours; the reference implementation's over ours is {reference_ratio:.2f}"
    return {
        "ratio": ratio,
        "what": what,
        "environments": count,
        "steps": steps,
        "strategies": each,
        "compared": compared,
    }


def our_environments(
    model: BatchedSamPredictor, data: Scenes, count: int, steps: int, **options: Any
) -> AlignSAMVectorEnv:
    """Return our environments, which play the paper's game as those of the reference implementation do.

    Args:
        model: The SAM.
        data: The images; all of them are the agent's labelled images.
        count: Number of environments.
        steps: Prompts of an episode.
        **options: Further keywords of ``AlignSAM-v0``.
    """
    warnings.filterwarnings("ignore", "The SRM has learned nothing")  # a timing needs labels, not good ones
    options = {"srm": SRM, "srm_grid_size": 32, **options}
    return make_environments(count, sam=model, dataset=data, shots=len(data), max_steps=steps, **options)


def play_episodes(envs: AlignSAMVectorEnv | DummyVecEnv, steps: int) -> None:
    """Play one episode in each environment at random, and begin the next."""
    rng = np.random.default_rng(0)
    for _ in range(steps):
        envs.step(rng.integers(0, SIDE**2, envs.num_envs))


def _decode(envs: AlignSAMVectorEnv) -> None:
    """The decodes of one such episode alone, on images that the decoder has not seen."""
    episode = envs.episode
    rows = torch.arange(len(episode))
    image = episode.model.prepare_image(
        torch.stack([episode.encoded[i].encoding for i in episode.index.tolist()]).float()
    )
    for used in range(2, episode.points.shape[1] + 1):
        points = torch.rand(len(rows), used, 2, device=episode.model.device)
        labels = torch.randint(0, 2, (len(rows), used), device=episode.model.device)
        episode.model.decode(image, rows, points, labels)
