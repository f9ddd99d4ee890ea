"""A fitted baseline, measured on the images that the agent is measured on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from rich.progress import track

from alignsam_gym.baselines import Baseline
from alignsam_gym.evaluation.image_scorer import ImageScorer
from alignsam_gym.evaluation.score_threads import map_threads
from alignsam_gym.foundation.encoding.encoded_dataset import EncodedDataset
from alignsam_gym.metrics import PromptingScores


def score_baseline(
    baseline: Baseline,
    test: EncodedDataset,
    limit: int | None,
    batch_size: int,
    keep: Callable[[str, np.ndarray], None] | None = None,
) -> PromptingScores:
    """Score a fitted baseline on the first images of a data set, by `ImageScorer`.

    Args:
        baseline: Has been fitted.
        test: The images with their ground truth.
        limit: How many images; None for all.
        batch_size: How many images are answered at once.
        keep: Called with each image's id and answer, bool (H, W).
    """
    scores, ids = PromptingScores(), test.dataset.ids
    indices = range(len(ids))[:limit]
    for start in track(range(0, len(indices), batch_size), "evaluating"):
        batch = indices[start : start + batch_size]
        scorers = [ImageScorer(ids[index], test[index]) for index in batch]
        for scorer, logits in zip(scorers, baseline.predict(test, batch), strict=True):
            scorer.add_answer(logits)
        for image in map_threads(ImageScorer.finish, scorers):
            scores.add(image)
        if keep:
            for scorer in scorers:
                keep(scorer.name, scorer.mask)
    return scores
