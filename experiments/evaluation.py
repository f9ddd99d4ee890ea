"""Ways of prompting, measured side by side on the same images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from agents.policies import PromptPolicy
from alignsam_gym.envs.episode import Episode
from alignsam_gym.envs.prompters import Prompter, RandomPrompter, disagreement_prompter, oracle_prompter, srm_prompter
from alignsam_gym.envs.rendering import upsample
from alignsam_gym.envs.spaces import observe
from alignsam_gym.metrics import PromptingScores, overlap

Watcher = Callable[[Episode, int, list[int]], None]
"""Called with the episodes, the step (0 before any action) and each row's image index."""


class AgentPrompter:
    """A trained policy as a prompter. It sees each row's image by the row's number."""

    def __init__(self, policy: PromptPolicy, deterministic: bool) -> None:
        self.policy, self.deterministic = policy, deterministic

    def __call__(self, episode: Episode) -> np.ndarray:
        observation = observe(episode, "reference") | {"image": np.arange(len(episode))[:, None]}
        self.policy.attach(episode.embeddings)
        actions, _ = self.policy.predict(observation, deterministic=self.deterministic)
        return actions


def prompt(episode: Episode, indices: list[int], prompter: Prompter, watch: Watcher) -> None:
    """Play whole episodes on the images at `indices`, as many at once as `episode` has rows."""
    rows = len(episode)
    generators = [np.random.default_rng(0)] * rows  # nothing is drawn where prompts begin from the SRM
    for start in range(0, len(indices), rows):
        batch = indices[start : start + rows]
        padded = batch + batch[-1:] * (rows - len(batch))
        episode.begin(range(rows), padded, generators)
        watch(episode, 0, batch)
        for step in range(1, episode.rules.max_steps + 1):
            episode.act(range(rows), prompter(episode))
            watch(episode, step, batch)


def measure(episode: Episode, indices: list[int], prompter: Prompter, watch: Watcher | None = None) -> PromptingScores:
    """Scores of one way of prompting; masks are compared at each image's own size, logits cut at zero."""
    scores = PromptingScores()
    open_rows: dict[int, list[list]] = {}

    def record(episode: Episode, step: int, batch: list[int]) -> None:
        if watch:
            watch(episode, step, batch)
        facts = episode.facts()
        for row, index in enumerate(batch):
            sample = episode.encoded[index]
            answer = upsample(episode.logits[row], sample.mask.shape)
            kept = open_rows.setdefault(index, [[], [], []])
            kept[0].append(overlap(answer, sample.mask, sample.void))
            if step:
                kept[1].append(facts["foreground"][row])
                kept[2].append(facts["repeated"][row])
            if step == episode.rules.max_steps:
                overlaps, hits, repeats = open_rows.pop(index)
                scores.ids.append(episode.encoded.dataset.ids[index])
                scores.overlaps.append(np.array(overlaps))
                scores.hits.append(np.array(hits))
                scores.repeats.append(np.array(repeats))

    with torch.no_grad():
        prompt(episode, indices, prompter, record)
    return scores


def prompters(policy: PromptPolicy, deterministic: bool, seed: int) -> dict[str, tuple[Prompter, str | None]]:
    """Name -> prompter, and the label source it needs (None: the run's own)."""
    return {
        "agent": (AgentPrompter(policy, deterministic), None),
        "random": (RandomPrompter(seed), None),
        "srm": (srm_prompter, None),
        "disagreement": (disagreement_prompter, None),
        "agent, true labels": (AgentPrompter(policy, deterministic), "oracle"),
        "oracle": (oracle_prompter, "oracle"),
    }


def compare(
    episode: Episode, limit: int | None, policy: PromptPolicy, deterministic: bool, seed: int
) -> dict[str, PromptingScores]:
    """Every prompter's scores on the first `limit` images of the episode's data set (None: all)."""
    indices = list(range(len(episode.encoded)))[:limit]
    results, rules = {}, episode.rules
    for name, (prompter, labels) in track(prompters(policy, deterministic, seed).items(), "evaluating"):
        episode.rules = replace(rules, label_source=labels) if labels else rules
        results[name] = measure(episode, indices, prompter)
    episode.rules = rules
    return results


def print_table(summaries: dict[str, dict], title: str) -> None:
    """The prompters as rows: mIoU after some numbers of prompts, FR and the share of repeated patches."""
    last = len(next(iter(summaries.values()))["miou_by_step"]) - 1
    steps = [t for t in (0, 1, 5, 10) if t < last] + [last]
    table = Table("prompting", *(f"t={t}" for t in steps), "FR", "repeated", title=f"mIoU after t prompts: {title}")
    for name, summary in summaries.items():
        curve = summary["miou_by_step"]
        shares = (f"{summary[key]:.1%}" for key in ("foreground_rate", "repeated"))
        table.add_row(name, *(f"{curve[t]:.3f}" for t in steps), *shares)
    Console().print(table)
