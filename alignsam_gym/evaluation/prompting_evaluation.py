"""Prompting strategies, measured side by side on the same images."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from alignsam_gym.envs.episode import Episode
from alignsam_gym.envs.prompters import Prompter, play
from alignsam_gym.envs.spaces import infos_of
from alignsam_gym.evaluation.image_scorer import ImageScorer
from alignsam_gym.evaluation.prompting_strategies import PromptingStrategy, played_by
from alignsam_gym.evaluation.resume_log import ResumeLog
from alignsam_gym.evaluation.score_threads import map_threads
from alignsam_gym.foundation.sam.batched_decoder import PADDING
from alignsam_gym.metrics import PromptedImage, PromptingScores

log = logging.getLogger(__name__)

Watcher = Callable[[Episode, int, list[int]], None]
"""Called with the episodes, the step (0 before any action) and each row's image index."""


def prompt(episode: Episode, indices: list[int], prompter: Prompter, watch: Watcher) -> None:
    """Play whole episodes on the images at `indices`, as many at once as `episode` has rows."""
    rows = len(episode)
    for start in range(0, len(indices), rows):
        batch = indices[start : start + rows]
        padded = batch + batch[-1:] * (rows - len(batch))
        for step in play(episode, padded, prompter):
            watch(episode, step, batch)


def prompt_images(episode: Episode, batch: list[int], prompter: Prompter) -> list[ImageScorer]:
    """Prompt the images at the indices in `batch`.

    Args:
        episode: Has as many rows as there are images, or fewer.
        batch: Indices of the episode's data set.
        prompter: Chooses the prompts.

    Returns:
        The scorer of each image, which has all its answers and is not finished.
    """
    ids = episode.encoded.dataset.ids
    scorers = {index: ImageScorer(ids[index], episode.encoded[index]) for index in batch}

    def watch(episode: Episode, step: int, batch: list[int]) -> None:
        infos, answers = infos_of(episode), episode.answers
        for row, index in enumerate(batch):
            scorers[index].add_answer(answers[row])
            stopped = infos["label"][row] == PADDING
            if step and not stopped:
                scorers[index].add_prompt(infos["foreground"][row], infos["repeated"][row])

    with torch.no_grad():
        prompt(episode, batch, prompter, watch)
    return list(scorers.values())


def score_prompting(episode: Episode, batch: list[int], prompter: Prompter) -> list[PromptedImage]:
    """Prompt images, as `prompt_images` does, and score them."""
    return list(map_threads(ImageScorer.finish, prompt_images(episode, batch, prompter)))


def compare(
    episode: Episode,
    indices: Sequence[int],
    strategies: Mapping[str, PromptingStrategy],
    resume_log: ResumeLog,
    keep: Callable[[str, str, np.ndarray], None] | None = None,
) -> dict[str, PromptingScores]:
    """Score every strategy on images of the episode's data set.

    Args:
        episode: As many images are prompted at once as it has rows.
        indices: Which images, by their places in the data set.
        strategies: By name.
        resume_log: Images that it holds are not prompted again; those that are done are added.
        keep: Called with a strategy's name, an image's id and the last mask, bool (H, W).

    Returns:
        The scores by the strategy's name.
    """
    results = {name: PromptingScores() for name in strategies}
    done = set()
    for record in resume_log.read():
        for name, image in record["prompting"].items():
            results[name].add(PromptedImage.from_json(image))
        done.add(record["id"])
    ids, rows = episode.encoded.dataset.ids, len(episode)
    left = [index for index in indices if ids[index] not in done]
    if done:
        log.info("%d of %d images were evaluated before", len(indices) - len(left), len(indices))
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns) as progress:
        bar = progress.add_task("evaluating", total=len(indices), completed=len(indices) - len(left))
        for start in range(0, len(left), rows):
            batch = left[start : start + rows]
            episode.encoded.fetch(batch)
            episode.encoded.prefetch(left[start + rows : start + 2 * rows])
            scored = _score_batch(episode, batch, strategies, keep)
            for name, images in scored.items():
                for image in images:
                    results[name].add(image)
            resume_log.append(_records(scored, [ids[index] for index in batch]))
            progress.advance(bar, len(batch))
    return results


def _score_batch(
    episode: Episode,
    batch: list[int],
    strategies: Mapping[str, PromptingStrategy],
    keep: Callable[[str, str, np.ndarray], None] | None,
) -> dict[str, list[PromptedImage]]:
    """Score each strategy on the images at the indices in `batch`, while the next one prompts."""

    def prompted() -> Iterator[tuple[str, ImageScorer]]:
        for name, strategy in strategies.items():
            with played_by(episode, strategy.rules):
                scorers = prompt_images(episode, batch, strategy.prompter)
            for scorer in scorers:
                yield name, scorer

    def finish(prompted: tuple[str, ImageScorer]) -> tuple[str, ImageScorer, PromptedImage]:
        name, scorer = prompted
        return name, scorer, scorer.finish()

    scored: dict[str, list[PromptedImage]] = {name: [] for name in strategies}
    with closing(map_threads(finish, prompted())) as finished:
        for name, scorer, image in finished:
            scored[name].append(image)
            if keep:
                keep(name, scorer.name, scorer.mask)
    return scored


def _records(scored: Mapping[str, list[PromptedImage]], ids: list[str]) -> list[dict[str, Any]]:
    """Return the resume log's record of each image."""
    records = []
    for place, id in enumerate(ids):
        prompting = {name: images[place].to_json() for name, images in scored.items()}
        records.append({"id": id, "prompting": prompting})
    return records
