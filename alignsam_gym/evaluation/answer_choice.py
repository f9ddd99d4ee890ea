"""Which answer a trained agent gives, where `Rules.answer` leaves it open. [ours; env.answer=auto]"""

from __future__ import annotations

import logging

from alignsam_gym.envs.episode import Episode
from alignsam_gym.envs.rules import AnswerName
from alignsam_gym.evaluation.labelled_play import LabelledPlay

log = logging.getLogger(__name__)


def better_answer(episode: Episode, played: LabelledPlay) -> AnswerName:
    """Choose the answer with the higher mIoU on the labelled images, the mean of those after 0 to T prompts.

    With `SRMConfig.folds` at 1 no branch is without what it has learned from, and the SRM's map, hence the fused
    answer, looks better than it is on new images.

    Args:
        episode: Of the training split, after the training.
        played: What its images showed.

    Returns:
        ``sam`` or ``fused``.
    """
    chosen: AnswerName = "sam" if played.miou["sam"] > played.miou["fused"] else "fused"
    unseen = "cross-fitted" if episode.srm.config.folds > 1 else "by a branch that has learned from them"
    told = ", ".join(f"{answer} {miou:.3f}" for answer, miou in played.miou.items())
    log.info("answer=%s: mIoU on the %d labelled images, %s: %s", chosen, len(episode.encoded), unseen, told)
    return chosen
