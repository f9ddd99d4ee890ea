import re

import numpy as np
import pytest
import torch

from alignsam_gym.data.samples import assign_folds
from alignsam_gym.envs.fused_answer import fuse_answers
from alignsam_gym.envs.prompters import play, srm_prompter
from alignsam_gym.evaluation.answer_choice import better_answer
from alignsam_gym.metrics import overlap


def taught(make_toy_vec, folds):
    episode = make_toy_vec(3, answer="auto", srm={"width": 8, "folds": folds, "batch_size": 2}).unwrapped.episode
    episode.start_run(0)
    for _ in play(episode, [0, 2, 4], srm_prompter):
        pass
    return episode


def one_by_one(make_toy_vec, episode, folds):
    """The mean IoU of both answers, each image played alone as a test image, with the branch of its fold."""
    sums = {"sam": [], "fused": []}
    alone = make_toy_vec(1, split="test", srm=episode.srm).unwrapped.episode
    of_fold, fold_of = episode.srm.logits, assign_folds(episode.encoded.dataset, folds)
    for index in range(5):
        fold = torch.tensor([fold_of[index]]) if folds > 1 else None
        alone.srm.logits = lambda state, _, fold=fold: of_fold(state, fold)
        for _ in play(alone, [index], srm_prompter):
            for answer, logits in (("sam", alone.logits), ("fused", fuse_answers(alone.logits, alone.srm_logits))):
                both, either = overlap((logits[0] > 0).numpy(), (alone.truth[0] > 0.5).numpy())
                sums[answer].append(both / either)
    return {answer: np.mean(ious) for answer, ious in sums.items()}


@pytest.mark.parametrize("folds", [1, 2])
def test_the_better_answer_on_unseen_labelled_images_is_chosen(make_toy_vec, caplog, folds):
    caplog.set_level("INFO")
    episode = taught(make_toy_vec, folds)
    rules, weights = episode.rules, {name: one.clone() for name, one in episode.srm.members.state_dict().items()}
    chosen = better_answer(episode, srm_prompter)
    told = {name: float(mean) for name, mean in re.findall(r"(sam|fused) (\d\.\d+)", caplog.text)}
    assert chosen == max(told, key=told.get)
    assert told["sam"] != told["fused"]
    assert told == pytest.approx(one_by_one(make_toy_vec, episode, folds), abs=1e-3)
    assert episode.rules == rules
    assert episode.learns
    for name, one in episode.srm.members.state_dict().items():
        torch.testing.assert_close(one, weights[name], rtol=0, atol=0)
