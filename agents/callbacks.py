"""What happens beside learning: curves are logged, progress is shown, the training state is saved."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from stable_baselines3.common.callbacks import BaseCallback

from alignsam_gym.agents.training_log import STEP
from alignsam_gym.agents.training_state import Curves, save_training_state
from alignsam_gym.envs.alignsam_vector_env import AlignSAMVectorEnv

CURVES = ("reward", "foreground_rate", "repeated", "iou")
"""Metrics of a round, in the history and in the log."""


class EpisodeStatistics(BaseCallback):
    """Logs means over each round, which is `max_steps` steps of every environment, and adds them to the history.

    - ``rollout/reward``: the mean reward of a step.
    - ``rollout/foreground_rate``: the fraction of actions that hit the target (FR, Eq. 14, unless agents stop).
    - ``rollout/repeated``: the fraction of actions that chose a patch again that their episode had chosen before.
    - ``rollout/iou``: the mean IoU after the round's last step. Episodes end there unless the agent stops them.
    - ``iou_by_step/<t>``: the mean IoU after t steps of the round.
    - ``time/steps_per_second``: steps of all environments, with the time that the updates take.

    The learner's own metrics are written with them, so the learner should write none: ``learn(log_interval=None)``.

    Args:
        curves: Its history gets a dict for each round: ``timesteps``, ``seconds`` that the round took, and `CURVES`.
        max_steps: Steps of a round.
    """

    def __init__(self, curves: Curves, max_steps: int) -> None:
        super().__init__()
        self.curves = curves
        self.max_steps = max_steps
        self._round_began = time.perf_counter()

    def _on_step(self) -> bool:
        """SB3's hook, after each step of all environments."""
        infos = self.locals["infos"]
        step = {name: np.array([info[name] for info in infos], float) for name in ("foreground", "repeated", "iou")}
        step["reward"] = np.array(self.locals["rewards"], float)
        self.curves.steps.append(step)
        if len(self.curves.steps) == self.max_steps:
            self._end_round()
            self.curves.steps.clear()
        return True

    def _end_round(self) -> None:
        """Write the round that has ended to the history and to the log."""
        now, steps = time.perf_counter(), self.curves.steps
        seconds = now - self._round_began
        self._round_began = now
        record = {
            "timesteps": float(self.num_timesteps),
            "seconds": seconds,
            "reward": self._mean("reward"),
            "foreground_rate": self._mean("foreground"),
            "repeated": self._mean("repeated"),
            "iou": float(steps[-1]["iou"].mean()),
        }
        self.curves.history.append(record)
        for name in CURVES:
            self.logger.record(f"rollout/{name}", record[name])
        for number, step in enumerate(steps, start=1):
            self.logger.record(f"iou_by_step/{number:02d}", float(step["iou"].mean()))
        played = len(steps) * len(steps[0]["iou"])
        self.logger.record("time/steps_per_second", played / seconds)
        self.logger.record(STEP, self.num_timesteps, exclude="tensorboard")  # which has it already
        self.logger.dump(self.num_timesteps)

    def _mean(self, name: str) -> float:
        return float(np.mean([step[name] for step in self.curves.steps]))


class ProgressBar(BaseCallback):
    """Shows a progress bar with the latest round's metrics.

    Args:
        history: What `EpisodeStatistics` writes.
        total: Timesteps of the whole training.
    """

    def __init__(self, history: list[dict[str, float]], total: int) -> None:
        super().__init__()
        self.history = history
        self.total = total
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} steps {task.fields[metrics]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )

    def _on_training_start(self) -> None:
        """SB3's hook, when learning begins."""
        self._progress.start()
        self._task = self._progress.add_task("", total=self.total, completed=self.num_timesteps, metrics="")

    def _on_step(self) -> bool:
        """SB3's hook, after each step of all environments."""
        changed: dict[str, Any] = {"completed": self.num_timesteps}
        if self.history:
            last = self.history[-1]
            reward, foreground_rate, iou = last["reward"], last["foreground_rate"], last["iou"]
            changed["metrics"] = f"reward {reward:+.2f}  FR {foreground_rate:.0%}  IoU {iou:.3f}"
        self._progress.update(self._task, **changed)
        return True

    def close(self) -> None:
        """Leave the terminal as it was, whether training ended or was interrupted. It may be called more than once."""
        if self._progress.live.is_started:
            self._progress.stop()


class Checkpoints(BaseCallback):
    """Saves the training state before learning, after each round of `EpisodeStatistics`, and at the end.

    It saves only between rollouts, when no collected step is waiting to be learned from. An interruption costs one
    round, or one rollout where that is longer.

    Args:
        path: The file to write.
        env: The environment that the learner plays.
        curves: What `EpisodeStatistics` writes.
    """

    def __init__(self, path: Path, env: AlignSAMVectorEnv, curves: Curves) -> None:
        super().__init__()
        self.path = path
        self.env = env
        self.curves = curves
        self._rounds_saved = -1

    def _on_step(self) -> bool:
        """SB3's hook, which every callback must have."""
        return True

    def _on_rollout_start(self) -> None:
        """SB3's hook, before steps are collected."""
        if len(self.curves.history) > self._rounds_saved:
            self._save()

    def _on_training_end(self) -> None:
        """SB3's hook, when learning has ended."""
        self._save()

    def _save(self) -> None:
        save_training_state(self.path, self.model, self.env, self.curves)
        self._rounds_saved = len(self.curves.history)
