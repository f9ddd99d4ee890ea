"""What happens beside learning: progress shown, curves logged, checkpoints written."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from stable_baselines3.common.callbacks import BaseCallback

from alignsam_gym.agents.training_state import save_checkpoint
from alignsam_gym.envs.alignsam_vector_env import AlignSAMVectorEnv

CURVES = ("reward", "foreground_rate", "repeated", "iou")


class EpisodeStatistics(BaseCallback):
    """Means over each round, `max_steps` of every environment, to the log and for the progress bar.

    ``rollout/reward``, of a step. ``rollout/foreground_rate`` (FR, Eq. 14) and ``rollout/repeated``, shares of
    actions that hit the target, and a patch chosen before in the episode. ``rollout/iou``, at the end of
    rounds, where episodes end unless the agent stops them; ``iou_by_step/<t>``, after t steps of the round.
    ``time/steps_per_second``, with the updates' time. The learner's own figures are written with them, so it should
    write none: ``learn(log_interval=None)``.

    history: one mapping a round, ``timesteps``, ``seconds`` that it took, and `CURVES`.
    """

    def __init__(self, history: list[dict[str, float]], max_steps: int) -> None:
        super().__init__()
        self.history, self.max_steps = history, max_steps
        self._rows: list[dict[str, np.ndarray]] = []
        self._began = time.perf_counter()

    def _on_step(self) -> bool:
        infos = self.locals["infos"]
        row = {name: np.array([info[name] for info in infos], float) for name in ("foreground", "repeated", "iou")}
        self._rows.append(row | {"reward": np.array(self.locals["rewards"], float)})
        if len(self._rows) == self.max_steps:
            self._tell()
            self._rows = []
        return True

    def _tell(self) -> None:
        mean = {
            name: float(np.mean([row[name] for row in self._rows])) for name in ("reward", "foreground", "repeated")
        }
        elapsed, self._began = time.perf_counter() - self._began, time.perf_counter()
        record = {
            "timesteps": float(self.num_timesteps),
            "seconds": elapsed,
            "reward": mean["reward"],
            "foreground_rate": mean["foreground"],
            "repeated": mean["repeated"],
            "iou": float(self._rows[-1]["iou"].mean()),
        }
        self.history.append(record)
        for name in CURVES:
            self.logger.record(f"rollout/{name}", record[name])
        for step, row in enumerate(self._rows, start=1):
            self.logger.record(f"iou_by_step/{step:02d}", float(row["iou"].mean()))
        self.logger.record("time/steps_per_second", len(self._rows) * len(self._rows[0]["iou"]) / elapsed)
        self.logger.dump(self.num_timesteps)


class ProgressBar(BaseCallback):
    """A bar with the latest round's figures. total: timesteps of the whole training."""

    def __init__(self, history: list[dict[str, float]], total: int) -> None:
        super().__init__()
        self.history, self.total = history, total

    def _on_training_start(self) -> None:
        columns = (
            TextColumn("training"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} steps {task.fields[figures]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self.progress = Progress(*columns)
        self.progress.start()
        self.task = self.progress.add_task("", total=self.total, completed=self.num_timesteps, figures="")

    def _on_step(self) -> bool:
        self.progress.update(self.task, completed=self.num_timesteps)
        if self.history:
            last = self.history[-1]
            figures = f"reward {last['reward']:+.2f}  FR {last['foreground_rate']:.0%}  IoU {last['iou']:.3f}"
            self.progress.update(self.task, figures=figures)
        return True

    def close(self) -> None:
        """Leave the terminal as it was, whether training ended or was interrupted."""
        if hasattr(self, "progress"):
            self.progress.stop()


class Checkpoints(BaseCallback):
    """Writes a checkpoint at first and after each round of `EpisodeStatistics`, once there is nothing to learn from it.

    So an interruption costs one round, or one rollout where that is longer.
    """

    def __init__(self, path: Path, env: AlignSAMVectorEnv, history: list[dict[str, float]]) -> None:
        super().__init__()
        self.path, self.env, self.history = path, env, history
        self._saved = -1

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if len(self.history) > self._saved:
            self._save()

    def _on_training_end(self) -> None:
        self._save()

    def _save(self) -> None:
        save_checkpoint(self.path, self.model, self.env, self.history)
        self._saved = len(self.history)
