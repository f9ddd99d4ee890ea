"""Measuring a prompting strategy on unseen images: ours in batches, the reference implementation's image by image."""

from __future__ import annotations

import tempfile
from functools import partial
from typing import Any

import numpy as np

from alignsam_gym.envs.episode import Episode
from alignsam_gym.envs.prompters import RandomPrompter
from alignsam_gym.evaluation.prompting_evaluation import score_prompting
from alignsam_gym.experiments.benchmark.environment_speed import SRM, STEPS, our_environments
from alignsam_gym.experiments.benchmark.models import Scenes, Setting, benchmark_model
from alignsam_gym.experiments.benchmark.reference_implementation import FRAME, SIDE, PredictorEnv, reference_environment
from alignsam_gym.experiments.benchmark.timing import alternate, statistics
from alignsam_gym.metrics import overlap, score_mask


def time_evaluation(setting: Setting) -> dict[str, Any]:
    """Time images that are encoded already: prompted at random, IoU after every prompt, all metrics at the end.

    They have the frame's own size, as the answers of the reference implementation have.
    """
    images, rounds, steps = (2, 1, 2) if setting.quick else (25, 3, STEPS)
    model, data = benchmark_model(setting.sam, setting.device, encoder=False), Scenes(images, side=FRAME)
    with tempfile.TemporaryDirectory() as cache:
        envs = our_environments(model, data, images, steps, cache_dir=cache, split="test")
        reference = reference_environment(model, data, steps, SRM, learns=False)
        strategies = {"ours": partial(_ours, envs.episode), "reference": partial(_one_by_one, reference, images)}
        seconds = alternate(strategies, rounds, model.device)
    each = statistics(seconds, images)
    for name in strategies:
        print(f"{name}: {each[name]['median']:.0f} ± {each[name]['spread']:.0f} ms an image of {steps} prompts")
    return {"ratio": each["ratio"], "what": "the reference implementation's time over ours", **each}


def _ours(episode: Episode) -> None:
    score_prompting(episode, list(range(len(episode))), RandomPrompter(0))


def _one_by_one(env: PredictorEnv, images: int) -> None:
    rng = np.random.default_rng(0)
    for index in range(images):
        env.reset(options={"index": index})
        ended = False
        while not ended:
            *_, ended, _ = env.step(int(rng.integers(SIDE**2)))
            overlap(env.answer, env.truth, None)
        score_mask(env.answer, env.truth, None)
