"""What is told of a training while it goes on."""

import numpy as np
import pytest
from stable_baselines3.common.callbacks import BaseCallback, CallbackList

from alignsam_gym.agents.callbacks import EpisodeStatistics
from alignsam_gym.agents.training_state import Curves

INFOS = ("foreground", "repeated", "iou")


class _Steps(BaseCallback):
    """Keeps what each step of all environments gave, (reward, *INFOS) of each."""

    def __init__(self):
        super().__init__()
        self.given = []

    def _on_step(self):
        infos, rewards = self.locals["infos"], self.locals["rewards"]
        self.given.append([rewards.copy(), *([info[name] for info in infos] for name in INFOS)])
        return True


def test_a_rounds_curves_are_means_of_what_its_steps_gave(make_toy_learner):
    """Two rounds of 6 steps of 4 environments, in which each metric is another number."""
    model, curves, steps = make_toy_learner("ppo", revisit="allow", reward="delta_iou"), Curves(), _Steps()
    model.learn(48, CallbackList([steps, EpisodeStatistics(curves, 6)]), log_interval=None)
    rounds = np.array(steps.given, float).reshape(2, 6, 4, 4)  # (round, step, metric, environment)
    assert len(np.unique(rounds.mean((1, 3)).round(6))) > 6
    for found, given in zip(curves.history, rounds, strict=True):
        reward, foreground_rate, repeated, _ = given.mean((0, 2))
        assert found["reward"] == pytest.approx(reward)
        assert found["foreground_rate"] == pytest.approx(foreground_rate)
        assert found["repeated"] == pytest.approx(repeated)
        assert found["iou"] == pytest.approx(given[-1, 3].mean())
    assert [found["timesteps"] for found in curves.history] == [24, 48]
