"""What a trained agent meets on labelled images."""

import numpy as np
import pytest
import torch

from alignsam_gym.data.samples import assign_folds
from alignsam_gym.envs.fused_answer import fuse_answers
from alignsam_gym.envs.prompters import begin, play, srm_prompter
from alignsam_gym.evaluation.labelled_play import play_labelled
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
def test_labelled_images_are_played_as_new_ones_are(make_toy_vec, folds):
    episode = taught(make_toy_vec, folds)
    rules, weights = episode.rules, {name: one.clone() for name, one in episode.srm.members.state_dict().items()}
    played = play_labelled(episode, srm_prompter, "srm")
    assert played.miou["sam"] != played.miou["fused"]
    assert played.miou == pytest.approx(one_by_one(make_toy_vec, episode, folds), abs=1e-3)
    assert played.masks.shape == (5, 1 + episode.rules.max_steps, *episode.mask.shape[1:])
    assert episode.rules == rules
    assert episode.learns
    for name, one in episode.srm.members.state_dict().items():
        torch.testing.assert_close(one, weights[name], rtol=0, atol=0)


def test_each_state_is_kept_by_image_and_step(make_toy_vec):
    episode = taught(make_toy_vec, folds=1)
    masks = play_labelled(episode, srm_prompter, "srm").masks
    alone = make_toy_vec(1, split="test", srm=episode.srm).unwrapped.episode
    for index in range(5):
        for step in play(alone, [index], srm_prompter):
            torch.testing.assert_close(masks[index, step].float(), alone.mask[0], rtol=0, atol=1e-3)


def test_they_begin_as_new_ones_do(make_toy_vec):
    episode = taught(make_toy_vec, folds=1)
    masks = play_labelled(episode, srm_prompter, "truth").masks
    alone = make_toy_vec(1, split="test", srm=episode.srm, initial_prompts="truth").unwrapped.episode
    for index in range(5):
        begin(alone, [index])
        torch.testing.assert_close(masks[index, 0].float(), alone.mask[0], rtol=0, atol=1e-3)
