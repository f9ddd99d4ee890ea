"""Which answer a trained agent gives, where `Rules.answer` leaves it open. [ours; env.answer=auto]"""

from __future__ import annotations

import logging

import torch

from alignsam_gym.envs.episode import Episode
from alignsam_gym.envs.prompters import Prompter
from alignsam_gym.envs.rules import AnswerName
from alignsam_gym.evaluation.prompting_evaluation import Watcher, prompt
from alignsam_gym.evaluation.prompting_strategies import played_by

log = logging.getLogger(__name__)


def better_answer(episode: Episode, prompter: Prompter) -> AnswerName:
    """Choose the answer with the higher mIoU on the labelled images, the mean of those after 0 to T prompts.

    With `SRMConfig.folds` at 1 no branch is without what it has learned from, and the SRM's map, hence the fused
    answer, looks better than it is on new images.

    Args:
        episode: Of the training split, after the training.
        prompter: The trained agent.

    Returns:
        ``sam`` or ``fused``.
    """
    sums = {"sam": 0.0, "fused": 0.0}

    def watch(episode: Episode, step: int, batch: list[int]) -> None:
        for answer in sums:
            with played_by(episode, {"answer": answer}):
                sums[answer] += float(episode.answer_ious()[: len(batch)].sum())

    play_labelled(episode, prompter, watch)
    answers = len(episode.encoded) * (1 + episode.rules.max_steps)
    means = {answer: total / answers for answer, total in sums.items()}
    chosen: AnswerName = "sam" if means["sam"] > means["fused"] else "fused"
    unseen = "cross-fitted" if episode.srm.config.folds > 1 else "by a branch that has learned from them"
    told = ", ".join(f"{answer} {mean:.3f}" for answer, mean in means.items())
    log.info("answer=%s: mIoU on the %d labelled images, %s: %s", chosen, len(episode.encoded), unseen, told)
    return chosen


def play_labelled(episode: Episode, prompter: Prompter, watch: Watcher) -> None:
    """Play the labelled images as new ones are played.

    Prompts begin from the SRM, which stays as it is, and each image meets the branch that has not learned from it.

    Args:
        episode: Of the training split, after the training.
        prompter: The trained agent.
        watch: Called before the first prompt, and after each.
    """
    learns, episode.learns = episode.learns, False
    try:
        with played_by(episode, {"initial_prompts": "srm"}), torch.no_grad():
            prompt(episode, list(range(len(episode.encoded))), prompter, watch)
    finally:
        episode.learns = learns
