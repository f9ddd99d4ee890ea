"""The labelled images, played as new ones are: what a trained agent meets on images that it has the truth of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from alignsam_gym.envs.episode import Episode
from alignsam_gym.envs.prompters import Prompter
from alignsam_gym.envs.rules import AnswerName, InitialPrompts
from alignsam_gym.evaluation.prompting_evaluation import prompt
from alignsam_gym.evaluation.prompting_strategies import played_by


class LabelledPlay(NamedTuple):
    """What the labelled images showed when they were played."""

    masks: Tensor
    """The M of each state, float16 (n, 1 + T, g, g) in [0, 1], on the CPU."""
    miou: Mapping[AnswerName, float]
    """In [0, 1], of each answer, over all images and over the answers after 0 to T prompts."""


def play_labelled(episode: Episode, prompter: Prompter, initial_prompts: InitialPrompts) -> LabelledPlay:
    """Play each labelled image once.

    The SRM stays as it is. With `SRMConfig.folds` above 1, each image meets a branch that has not learned from it.

    Args:
        episode: Of the training split, after the training.
        prompter: The trained agent.
        initial_prompts: The rule of new images, as the test split's episode has it.
    """
    states = (len(episode.encoded), 1 + episode.rules.max_steps)
    masks = torch.empty(*states, *episode.mask.shape[1:], dtype=torch.float16)
    ious: dict[AnswerName, Tensor] = {"sam": torch.empty(states), "fused": torch.empty(states)}

    def watch(episode: Episode, step: int, batch: list[int]) -> None:
        images = torch.tensor(batch)
        masks[images, step] = episode.mask[: len(batch)].half().cpu()
        for answer, iou in episode.both_ious().items():
            ious[answer][images, step] = iou[: len(batch)].cpu()

    learns, episode.learns = episode.learns, False
    try:
        with played_by(episode, {"initial_prompts": initial_prompts}), torch.no_grad():
            prompt(episode, list(range(len(episode.encoded))), prompter, watch)
    finally:
        episode.learns = learns
    return LabelledPlay(masks, {answer: float(each.mean()) for answer, each in ious.items()})
