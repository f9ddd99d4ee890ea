"""Trains the prompting policy on dozens of tasks: it learns what a prompt on each patch would gain.

A step plays one task. An SRM learns the task from a few labelled images, as in a training of an agent; then other
images are prompted, with the SRM's labels. In some states several patches are tried out, and the change of IoU that
each makes is kept. The policy so far chooses most of the prompts, so that it learns from states that it reaches itself.
After each task it takes a few gradient steps on the states of all tasks. After the last, a new policy is fitted to all
of them: its scores are to be the gains, in units of `UNIT`, and its value the discounted sum of what the episode gained
from there.

States that are in the output folder are not played again, so that those of several trainings, put into one folder and
numbered on, can be fitted together.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel

from alignsam_gym.agents.prompting_policy import (
    UNIT,
    PromptingPolicy,
    load_prompting_policy,
    save_prompting_policy,
)
from alignsam_gym.data import Dataset
from alignsam_gym.experiments.pretrain.optimise import Optimiser
from alignsam_gym.experiments.pretrain.played_tasks import PlayedStates, TaskPlayer, play_summary
from alignsam_gym.experiments.pretrain.prompting_tasks import left_out_tasks, prompting_tasks
from alignsam_gym.experiments.pretrain.training_images import all_photographs

log = logging.getLogger(__name__)


def build(config: DictConfig) -> PromptingPolicy:
    """Load the weights of `config.init`, from an earlier training; else random ones."""
    return load_prompting_policy(Path(config.init)) if config.init else PromptingPolicy(config.width)


def pictures(config: DictConfig, steps: int) -> Iterator[Dataset]:
    """Yield a task for each of the last `steps` steps: all tasks in turn, in an order that is drawn for each turn."""
    tasks = prompting_tasks(all_photographs(config), config.left_out)
    log.info("%d tasks: %s", len(tasks), ", ".join(f"{task.name} ({len(task)})" for task in tasks))
    for step in range(config.steps - steps, config.steps):
        turn, place = divmod(step, len(tasks))
        yield tasks[np.random.default_rng([config.seed, turn]).permutation(len(tasks))[place]]


class Trainer:
    """Plays tasks and learns from all of their states."""

    def __init__(self, model: PromptingPolicy, config: DictConfig) -> None:
        self.model, self.config = model, config
        self.optimiser = Optimiser(model, [], config, average_buffers=False, updates=config.updates)
        self.states = PlayedStates(Path(config.output) / "states")
        self.player = TaskPlayer(config)
        self.fitted: AveragedModel | None = None  # to the states of all tasks, in the last step

    @property
    def average(self) -> AveragedModel:
        """The policy with the average of its weights; after the last step, the one that is fitted to all states."""
        return self.fitted or self.optimiser.average

    def step(self, batch: Dataset) -> dict[str, float]:
        """Play a task, then update the policy; returns the mean losses."""
        step, config = self.optimiser.steps, self.config
        rng = np.random.default_rng([config.seed, step])
        policy = cast(PromptingPolicy, self.average.module).eval() if step else None
        if not self.states.path(step).exists():  # it does after an interruption
            played = self.player.play(batch, policy, rng)
            log.info("%s: %s", batch.name, play_summary(played))
            self.states.write(step, played)
        self.states.read(step)
        losses = self._learn(self.model, self.optimiser, config.updates, rng)
        if step + 1 == config.steps:
            torch.manual_seed(config.seed)  # whether or not the training was interrupted
            model = PromptingPolicy(config.width)
            optimiser = Optimiser(model, [], _in_one_step(config), average_buffers=False, updates=config.final_updates)
            losses = self._learn(model, optimiser, config.final_updates, rng)
            self.fitted = optimiser.average
        return losses

    def _learn(
        self, model: PromptingPolicy, optimiser: Optimiser, updates: int, rng: np.random.Generator
    ) -> dict[str, float]:
        """Update a policy so many times, on states of all tasks; returns the mean losses."""
        model.train()
        losses = [self._update(model, optimiser, self.states.draw(self.config.batch_size, rng)) for _ in range(updates)]
        return {name: float(np.mean([each[name] for each in losses])) for name in losses[0]}

    def _update(self, model: PromptingPolicy, optimiser: Optimiser, states: dict[str, Tensor]) -> dict[str, float]:
        scores, values = model(states["evidence"])
        gains = states["gains"] / UNIT
        predicted = scores.gather(1, states["actions"])
        gain_loss = F.smooth_l1_loss(predicted, gains)
        value_loss = F.smooth_l1_loss(values, states["returns"] / UNIT)
        optimiser.step(gain_loss + self.config.value_weight * value_loss)
        return {"gain": gain_loss.item(), "value": value_loss.item()}


def _in_one_step(config: DictConfig) -> DictConfig:
    """The configuration of a training of a single step, whose updates are a whole cycle of the learning rate."""
    merged = OmegaConf.merge(config, {"steps": 1})
    assert isinstance(merged, DictConfig)
    return merged


def score(model: nn.Module, config: DictConfig) -> dict[str, dict[str, float]]:
    """Mean IoU after some prompts on tasks that were left out, of the policy and of `disagreement_prompter`."""
    assert isinstance(model, PromptingPolicy)
    tasks = left_out_tasks(all_photographs(config), config.left_out)
    return TaskPlayer(config).compare(tasks, model.eval())


def save(model: nn.Module, folder: Path) -> None:
    """Write the weights."""
    assert isinstance(model, PromptingPolicy)
    save_prompting_policy(model, folder / "policy.safetensors")
