"""Ways of prompting, measured side by side on the same images."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from stable_baselines3.common.policies import BasePolicy

from alignsam_gym.agents.agent_prompter import AgentPrompter
from alignsam_gym.envs.episode import Episode
from alignsam_gym.envs.prompters import (
    Prompter,
    RandomPrompter,
    clip_prompter,
    disagreement_prompter,
    grid_prompter,
    oracle_prompter,
    play,
    srm_prompter,
)
from alignsam_gym.errors import OptionError
from alignsam_gym.evaluation.resume_log import ResumeLog
from alignsam_gym.foundation.sam.batched_decoder import PADDING
from alignsam_gym.metrics import PromptedImage, PromptingScores, heading, overlap, score_mask, shown_metrics
from alignsam_gym.transforms import mask_from_logits

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


def measure(
    episode: Episode, batch: list[int], prompter: Prompter, keep: Callable[[str, np.ndarray], None] | None = None
) -> list[PromptedImage]:
    """What one way of prompting does on the images of a batch, compared at each image's own size, logits cut at zero.

    keep: called with each image's id and last mask, bool (H, W).
    """
    progress: dict[int, tuple[list, list, list]] = {index: ([], [], []) for index in batch}
    measured = []

    def record(episode: Episode, step: int, batch: list[int]) -> None:
        infos = episode.infos()
        for row, index in enumerate(batch):
            sample = episode.encoded[index]
            answer = mask_from_logits(episode.logits[row], sample.mask.shape)
            overlaps, hits, repeats = progress[index]
            overlaps.append(overlap(answer, sample.mask, sample.void))
            if step and infos["label"][row] != PADDING:  # it has not stopped
                hits.append(infos["foreground"][row])
                repeats.append(infos["repeated"][row])
            if step == episode.rules.max_steps:
                name, scores = episode.encoded.dataset.ids[index], score_mask(answer, sample.mask, sample.void)
                steps = np.array(overlaps), np.array(hits), np.array(repeats)
                measured.append(PromptedImage(name, sample.text, *steps, scores))
                if keep:
                    keep(name, answer)

    with torch.no_grad():
        prompt(episode, batch, prompter, record)
    return measured


class PromptingStrategy(NamedTuple):
    """A way of prompting; rules: those of the run that it changes."""

    prompter: Prompter
    rules: Mapping[str, Any] = {}


@contextmanager
def played_by(episode: Episode, rules: Mapping[str, Any]) -> Iterator[None]:
    """Let episodes go by the rules that a way of prompting changes, and then by their own again."""
    own = episode.rules
    episode.rules = replace(own, **rules)
    try:
        yield
    finally:
        episode.rules = own


DEFAULT_STRATEGIES = ("agent", "random", "srm", "disagreement", "clip", "agent, true labels", "oracle")
"""What is compared unless ``evaluate.strategies`` says otherwise; ``clip`` only where there is one."""


def prompting_strategies(
    policy: BasePolicy,
    deterministic: bool,
    seed: int,
    clip: bool,
    names: Sequence[str] | None = None,
    key: str = "evaluate.strategies",
) -> dict[str, PromptingStrategy]:
    """The ways called `names`, in that order; None: `DEFAULT_STRATEGIES`. clip: whether there is CLIP's map to prompt by.

    ``agent, labels: last``, ``clip`` and ``positive`` are the trained agent with labels from elsewhere, in the
    evaluation only ("RL+LAST", "RL+SCLIP" and "RL only" of Table 8, the last also "Ours-w/o SRM" of Tables 2 and 3).
    ``agent, one step`` is the agent stopped after its first prompt ("Ours-w/o MSI"). The initial pair comes from
    the SRM in all of them. [ours]

    Raises OptionError for no name, an unknown one, and one that needs CLIP's map where there is none. key: of the
    configuration, that the names come from.
    """
    agent, true_labels = AgentPrompter(policy, deterministic, seed), {"label_source": "oracle"}
    strategies = {
        "agent": PromptingStrategy(agent),
        "random": PromptingStrategy(RandomPrompter(seed)),
        "grid": PromptingStrategy(grid_prompter),
        "srm": PromptingStrategy(srm_prompter),
        "disagreement": PromptingStrategy(disagreement_prompter),
        "clip": PromptingStrategy(clip_prompter, {"label_source": "clip", "initial_prompts": "clip"}),
        "agent, true labels": PromptingStrategy(agent, true_labels),
        "oracle": PromptingStrategy(oracle_prompter, true_labels),
        **{
            f"agent, labels: {source}": PromptingStrategy(agent, {"label_source": source})
            for source in ("last", "clip", "positive")
        },
        "agent, one step": PromptingStrategy(agent, {"max_steps": 1}),
    }
    lacking = () if clip else tuple(name for name, way in strategies.items() if way.rules.get("label_source") == "clip")
    if names is None:
        names = [name for name in DEFAULT_STRATEGIES if name not in lacking]
    if not names:
        raise OptionError(f"{key} is empty; name at least one of {', '.join(strategies)}.")
    for name in names:
        if name not in strategies:
            raise OptionError(f"{key}={name!r} is unknown; choose from {', '.join(map(repr, strategies))}.")
        if name in lacking:
            raise OptionError(f"{key}={name!r} needs CLIP's map; train with branch=explicit.")
    return {name: strategies[name] for name in names}


def compare(
    episode: Episode,
    limit: int | None,
    strategies: Mapping[str, PromptingStrategy],
    resume_log: ResumeLog,
    keep: Callable[[str, str, np.ndarray], None] | None = None,
) -> dict[str, PromptingScores]:
    """Every way's scores on the first `limit` images of the episode's data set (None: all).

    Images that the resume_log holds are not prompted again. keep: called with a way's name, an image's id and the last
    mask, bool (H, W).
    """
    results = {name: PromptingScores() for name in strategies}
    done = set()
    for record in resume_log.read():
        for name, image in record["prompting"].items():
            results[name].add(PromptedImage.from_json(image))
        done.add(record["id"])
    ids, rows = episode.encoded.dataset.ids, len(episode)
    indices = range(len(ids))[:limit]
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
            measured = {}
            for name, way in strategies.items():
                with played_by(episode, way.rules):
                    measured[name] = measure(episode, batch, way.prompter, partial(keep, name) if keep else None)
                for image in measured[name]:
                    results[name].add(image)
            resume_log.append([
                {"id": ids[index], "prompting": {name: images[place].to_json() for name, images in measured.items()}}
                for place, index in enumerate(batch)
            ])  # fmt: skip
            progress.advance(bar, len(batch))
    return results


def print_table(summaries: Mapping[str, dict[str, Any]], title: str) -> None:
    """The prompters as rows: mIoU after some numbers of prompts, FR and the share of repeated patches."""
    last = max(len(summary["miou_by_step"]) for summary in summaries.values()) - 1
    steps = shown_steps(last)
    table = Table("prompting", *(f"t={t}" for t in steps), "FR", "repeated", title=f"mIoU after t prompts: {title}")
    for name, summary in summaries.items():
        curve = summary["miou_by_step"]
        rates = (summary[key] for key in ("foreground_rate", "repeated"))
        shares = ("" if rate is None else f"{rate:.1%}" for rate in rates)
        table.add_row(name, *(f"{curve[t]:.3f}" if t < len(curve) else "" for t in steps), *shares)
    Console().print(table)


def shown_steps(last: int) -> list[int]:
    """After how many prompts tables show an episode of `last`."""
    return [t for t in (0, 1, 5, 10, 15) if t < last] + [last]


def print_metrics(metrics: Mapping[str, dict[str, dict]], names: Sequence[str], title: str) -> None:
    """The figures `names`, by every way of averaging that there is, of each column's `MetricTotals.summary`."""
    table = Table("", *metrics, title=title)
    for average, name in shown_metrics(next(iter(metrics.values())), names):
        table.add_row(heading(average, name), *(f"{summary[average][name]:.3f}" for summary in metrics.values()))
    Console().print(table)
