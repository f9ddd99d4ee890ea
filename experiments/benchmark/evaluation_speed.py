"""Measuring a prompting strategy on unseen images: ours in batches, the reference implementation's image by image."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from alignsam_gym.envs.episode import Episode
from alignsam_gym.envs.prompters import RandomPrompter
from alignsam_gym.evaluation.prompting_evaluation import prompt_images, score_prompting
from alignsam_gym.experiments.benchmark.environment_speed import SRM, STEPS, our_environments
from alignsam_gym.experiments.benchmark.models import Scenes, Setting, benchmark_model
from alignsam_gym.experiments.benchmark.reference_implementation import (
    FRAME,
    SIDE,
    PredictorEnv,
    reference_environment,
    reference_iou,
    reference_metrics,
)
from alignsam_gym.experiments.benchmark.timing import alternate, statistics


def time_evaluation(setting: Setting) -> dict[str, Any]:
    """Time images that are encoded already: prompted at random, IoU after every prompt, all metrics at the end.

    They have the frame's own size, as the answers of the reference implementation have. The same without the metrics
    at the end is timed, too.
    """
    images, rounds, steps = (2, 1, 2) if setting.quick else (25, 3, STEPS)
    model, data = benchmark_model(setting.sam, setting.device, encoder=False), Scenes(images, side=FRAME)
    with tempfile.TemporaryDirectory() as cache:
        envs = our_environments(model, data, images, steps, cache_dir=cache, split="test")
        reference = reference_environment(model, data, steps, SRM, learns=False)
        strategies: dict[str, Callable[[], object]] = {
            "ours": partial(_ours, envs.episode, score_prompting),
            "reference": partial(_one_by_one, reference, images, metrics=True),
            "ours, IoU alone": partial(_ours, envs.episode, prompt_images),
            "reference, IoU alone": partial(_one_by_one, reference, images, metrics=False),
        }
        seconds = alternate(strategies, rounds, model.device)
    each, alone = (
        statistics({name: seconds[name] for name in pair}, images)
        for pair in (("ours", "reference"), ("ours, IoU alone", "reference, IoU alone"))
    )
    alone["ratio without metrics"] = alone.pop("ratio")
    found = {**each, **alone}
    for name in strategies:
        print(f"{name}: {found[name]['median']:.0f} ± {found[name]['spread']:.0f} ms an image of {steps} prompts")
    what = f"the reference implementation's time over ours; {found['ratio without metrics']:.2f} with IoU alone"
    return {"what": what, **found}


def _ours(episode: Episode, evaluate: Callable[[Episode, list[int], RandomPrompter], object]) -> None:
    evaluate(episode, list(range(len(episode))), RandomPrompter(0))


def _one_by_one(env: PredictorEnv, images: int, metrics: bool) -> None:
    rng = np.random.default_rng(0)
    for index in range(images):
        env.reset(options={"index": index})
        ended = False
        while not ended:
            *_, ended, _ = env.step(int(rng.integers(SIDE**2)))
            reference_iou(env.answer, env.truth)
        if metrics:
            reference_metrics(env.answer, env.truth)
