"""Plays prompting tasks, tries patches out on the way, and keeps what was seen and gained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from safetensors.torch import load_file, save
from torch import Tensor

from alignsam_gym.agents.prompting_policy import PromptingPolicy
from alignsam_gym.atomic_write import write_atomically
from alignsam_gym.data import Dataset
from alignsam_gym.data.samples import Subset
from alignsam_gym.envs.env_config import EnvConfig
from alignsam_gym.envs.episode import Episode
from alignsam_gym.envs.episode_factory import make_episode
from alignsam_gym.envs.prompters import Prompter, RandomPrompter, begin, disagreement_prompter, play, srm_prompter
from alignsam_gym.envs.rules import AnswerName
from alignsam_gym.foundation.clip_loading import load_clip
from alignsam_gym.foundation.sam.predictor import load_sam
from alignsam_gym.metrics.logits_iou import logits_iou
from alignsam_gym.srm import SRM
from alignsam_gym.transforms import resize_map

_FEATURES = ("sam", "clip", "both")
_TEACHING_STEPS = 6  # of an episode in which an SRM learns


class TaskPlayer:
    """Teaches an SRM a task, and prompts other images of it.

    Args:
        config: Of the pretraining, ``conf/model/policy.yaml``.
    """

    def __init__(self, config: DictConfig) -> None:
        self.config = config
        self.sam, self.clip = load_sam(config.sam, "cpu"), load_clip("tiny", "cpu")

    def play(self, task: Dataset, policy: PromptingPolicy | None, rng: np.random.Generator) -> dict[str, Tensor]:
        """Play a task with an SRM of a quality that is drawn, and try patches out.

        Args:
            task: More images than are played, `config.images`.
            policy: The policy so far, which chooses most prompts; None if there is none yet.
            rng: Draws images, SRM, prompts and the patches that are tried out.

        Returns:
            What `PlayedStates` keeps: of S states ``evidence`` float16 (S, channels, side, side), ``actions`` int64
            (S, K), ``gains`` float32 (S, K) and ``returns`` float32 (S,); ``curve`` float32 (T + 1,), the mean IoU
            after so many prompts; ``srm_iou`` of the SRM's maps. Gains, returns and curve are those of `_mean_of`.
        """
        order = rng.permutation(len(task)).tolist()
        shots = min(int(rng.choice(self.config.shots)), len(task) - self.config.images)
        learned, played = order[:shots], order[shots:][: self.config.images]
        srm = self.teach(Subset(task, learned), str(rng.choice(_FEATURES)), int(rng.choice(self.config.srm_steps)), rng)
        episode = self.episode(Subset(task, played), srm)
        return self._explore(episode, policy, rng)

    def teach(self, labelled: Dataset, features: str, steps: int, rng: np.random.Generator) -> SRM:
        """Train an SRM on labelled images, prompted at random, with about so many gradient steps."""
        batches = -(-len(labelled) // 8)
        updates = max(1, round(steps / (_TEACHING_STEPS * batches)))
        options = {"features": features, "folds": 1, "early_stopping_interval": 0, "updates": updates}
        episode = make_episode(self._env(labelled, "train", srm=options), len(labelled))
        seed = int(rng.integers(2**31))
        episode.start_run(seed)
        begin(episode, range(len(episode)))
        prompter = RandomPrompter(seed)
        for _ in range(_TEACHING_STEPS):
            episode.step(range(len(episode)), prompter(episode))
        return episode.srm

    def episode(self, images: Dataset, srm: SRM) -> Episode:
        """Make an episode of all of the images, as a test plays it."""
        return make_episode(self._env(images, "test", srm=srm), len(images))

    def compare(self, tasks: Sequence[Dataset], policy: PromptingPolicy) -> dict[str, dict[str, float]]:
        """Return the mean IoU after 0, 1, 5 and 15 prompts by task and strategy, the same images and SRM for all."""
        scores = {}
        for number, task in enumerate(tasks):
            rng = np.random.default_rng([1, number])
            order = rng.permutation(len(task)).tolist()
            shots, images = self.config.score_shots, self.config.score_images
            srm = self.teach(Subset(task, order[:shots]), "both", max(self.config.srm_steps), rng)
            episode = self.episode(Subset(task, order[shots : shots + images]), srm)
            for name, prompter in {"policy": policy.choose, "disagreement": disagreement_prompter}.items():
                curve = play_curve(episode, prompter)
                scores[f"{task.name}, {name}"] = {str(t): round(float(curve[t]), 4) for t in (0, 1, 5, 15)}
        return scores

    def _env(self, images: Dataset, split: str, srm: Any) -> EnvConfig:
        values = {"dataset": images, "split": split, "sam": self.sam, "clip": self.clip, "branch": "implicit"}
        values |= {"preset": "best", "srm": srm, "shots": len(images), "cache_dir": self.config.cache_dir}
        return EnvConfig.of(values)

    @torch.no_grad()
    def _explore(self, episode: Episode, policy: PromptingPolicy | None, rng: np.random.Generator) -> dict[str, Tensor]:
        """Play all images to the end."""
        strategies: list[Prompter] = [RandomPrompter(int(rng.integers(2**31))), srm_prompter, disagreement_prompter]
        chosen = rng.integers(len(strategies), size=len(episode))
        if policy is not None:
            chosen[rng.random(len(episode)) < self.config.on_policy] = len(strategies)
            strategies.append(policy.choose)
        begin(episode, range(len(episode)))
        kept: dict[str, list[Tensor]] = {name: [] for name in ("evidence", "actions", "gains")}
        curve = [_mean_of(episode.both_ious())]
        for step in range(episode.rules.max_steps):
            if step in self.config.tried_steps:
                actions = self._patches_to_try(episode, policy, rng)
                kept["evidence"].append(episode.evidence().half())
                kept["actions"].append(actions)
                kept["gains"].append(_mean_of(episode.lookahead_ious(actions)) - curve[-1][:, None])
            everyone = np.stack([prompter(episode) for prompter in strategies])
            episode.step(range(len(episode)), everyone[chosen, np.arange(len(episode))])
            curve.append(_mean_of(episode.both_ious()))
        ious = torch.stack(curve)
        returns = discounted(ious[1:] - ious[:-1], self.config.gamma)
        kept["returns"] = [returns[step] for step in self.config.tried_steps]
        srm_map = resize_map(episode.srm_logits, episode.truth.shape[1:])
        srm_iou = logits_iou(srm_map, episode.truth, episode.valid).mean()
        joined = {name: torch.cat(parts) for name, parts in kept.items()}
        return joined | {"curve": ious.mean(1), "srm_iou": srm_iou[None]}

    def _patches_to_try(self, episode: Episode, policy: PromptingPolicy | None, rng: np.random.Generator) -> Tensor:
        """Draw different unvisited patches of each row: half any, half by the policy's or the disagreement's scores."""
        grid = episode.rules.grid
        free = ~episode.visited
        if policy is None:
            difference = grid.pool((episode.srm_logits.sigmoid() - episode.mask).abs()).flatten(1)
            scores = 5 * difference / difference.std(1, keepdim=True).clamp(min=1e-6)
        else:
            scores = policy.for_side(grid.side)(episode.evidence())[0]
        noise = torch.from_numpy(rng.gumbel(size=scores.shape)).float()
        half = self.config.tried // 2
        best = (scores + noise).masked_fill(~free, -torch.inf).topk(half, dim=1).indices
        free = free.scatter(1, best, False)
        others = torch.from_numpy(rng.random(scores.shape)).masked_fill(~free, -1.0)
        return torch.cat([best, others.topk(self.config.tried - half, dim=1).indices], dim=1)


def _mean_of(ious: dict[AnswerName, Tensor]) -> Tensor:
    """The mean of both answers' IoU: SAM's gains are larger, and the fused answer's are what most agents are after."""
    return torch.stack(list(ious.values())).mean(0)


@torch.no_grad()
def play_curve(episode: Episode, prompter: Prompter) -> np.ndarray:
    """Return the mean IoU of all rows after each number of prompts, float (T + 1,)."""
    return np.array([float(episode.iou.mean()) for _ in play(episode, range(len(episode)), prompter)])


def discounted(rewards: Tensor, gamma: float) -> Tensor:
    """Return the discounted sums of rewards, float (T, B), from each step to the last."""
    returns = torch.zeros_like(rewards)
    following = torch.zeros_like(rewards[0])
    for step in reversed(range(len(rewards))):
        following = rewards[step] + gamma * following
        returns[step] = following
    return returns


class PlayedStates:
    """The states of all tasks so far: one file for each task, and all of them in memory.

    Args:
        folder: Of the files, made if need be.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.tasks: list[dict[str, Tensor]] = []

    def path(self, step: int) -> Path:
        """Return the file of the task that is played in a step."""
        return self.folder / f"{step:05d}.safetensors"

    def write(self, step: int, played: dict[str, Tensor]) -> None:
        """Keep what `TaskPlayer.play` returned."""
        write_atomically(self.path(step), save({name: value.contiguous() for name, value in played.items()}))

    def read(self, step: int) -> None:
        """Have the tasks of all steps up to this one in memory."""
        self.tasks += [load_file(self.path(number)) for number in range(len(self.tasks), step + 1)]
        names = ("evidence", "actions", "gains", "returns")
        self.all = {name: torch.cat([task[name] for task in self.tasks]) for name in names}

    def draw(self, count: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """Draw states of all tasks, turned and mirrored together in one of eight ways."""
        rows = torch.from_numpy(rng.integers(len(self.all["gains"]), size=count))
        states = {name: value[rows] for name, value in self.all.items()}
        side = states["evidence"].shape[-1]
        turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
        places = _turn(torch.arange(side * side).view(1, 1, side, side), turns, mirrored).flatten().argsort()
        evidence = _turn(states["evidence"].float(), turns, mirrored)
        return states | {"evidence": evidence, "actions": places[states["actions"]]}


def play_summary(played: dict[str, Tensor]) -> str:
    """Tell what playing a task was like."""
    curve = " ".join(f"{value:.3f}" for value in played["curve"][[0, 1, 5, -1]].tolist())
    best = played["gains"].amax(1).mean()
    return f"SRM {float(played['srm_iou']):.3f}, IoU after 0, 1, 5 and all prompts {curve}, best tried {best:+.4f}"


def _turn(maps: Tensor, turns: int, mirrored: bool) -> Tensor:
    turned = torch.rot90(maps, turns, (2, 3))
    return turned.flip(3) if mirrored else turned
