"""A baseline and the agent are scored by one function; this states that equal answers have equal scores."""

import numpy as np
import torch

from alignsam_gym.envs.prompters import RandomPrompter
from alignsam_gym.evaluation.baseline_evaluation import score_baseline
from alignsam_gym.evaluation.prompting_evaluation import prompt, score_prompting


class Replay:
    """A baseline that answers with given logits."""

    def __init__(self, logits):
        self.logits = logits

    def predict(self, samples, indices):
        return torch.stack([self.logits[index] for index in indices])


def test_equal_answers_score_alike_whoever_gives_them(make_toy_vec):
    episode = make_toy_vec(2, split="test").unwrapped.episode
    images, last = [0, 1, 2, 3], {}

    def watch(episode, step, batch):
        for row, index in enumerate(batch):
            last[index] = episode.logits[row].clone()

    prompt(episode, images, RandomPrompter(0), watch)
    by_agent = score_prompting(episode, images, RandomPrompter(0))
    kept = {}
    scores = score_baseline(Replay(last), episode.encoded, 4, 3, kept.__setitem__)
    assert scores.ids == [image.id for image in by_agent] == list(kept)
    for image, ious in zip(by_agent, scores.ious(), strict=True):
        assert len(ious) == 1
        both, either = image.overlaps[-1]
        assert ious[-1] == both / either
    means = scores.summary()["metrics"]["over_images"]
    for name in ("iou", "mae", "s_measure", "f_beta_weighted"):
        assert means[name] == np.mean([image.scores.metrics()[name] for image in by_agent])
    assert scores.summary()["foreground_rate"] is None
