"""Where the curves of a training are written: TensorBoard, a CSV file or Weights & Biases."""

from __future__ import annotations

import csv
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from stable_baselines3.common.logger import CSVOutputFormat, KVWriter, Logger, TensorBoardOutputFormat

from alignsam_gym.errors import OptionError, check_choice, first_line

LOGGERS = ("tensorboard", "csv", "wandb")
STEP = "time/total_timesteps"
"""The column of a CSV file that counts steps of all environments."""
_CSV_FILE = "progress.csv"
_PROJECT = "alignsam-gym"


def check_logger(name: str) -> None:
    """Raise `OptionError` if there is no such logger, or what it needs is not installed."""
    if check_choice("logger", name, LOGGERS) == "wandb":
        _import_wandb()


def make_logger(name: str, folder: Path, algorithm: str, config: Mapping[str, Any], step: int) -> Logger:
    """Open the log of a training. Where one was interrupted in this folder, its log goes on.

    Args:
        name: One of `LOGGERS`. ``tensorboard`` writes ``tensorboard/<algorithm>_0``, ``csv`` writes ``progress.csv``.
            ``wandb`` writes below ``wandb/`` and, unless $WANDB_MODE is ``offline``, to the project $WANDB_PROJECT,
            by default ``alignsam-gym``.
        folder: The folder of the run.
        algorithm: The name of the learner.
        config: What the run is made of, for Weights & Biases.
        step: From which the training goes on. What a CSV file has of later ones is dropped.

    Raises:
        OptionError: Weights & Biases is not installed, or refuses.
    """
    output: KVWriter
    match name:
        case "csv":
            output = _ContinuedCsv(folder / _CSV_FILE, step)
        case "wandb":
            output = _WandbOutput(folder, config)
        case _:
            output = TensorBoardOutputFormat(str(folder / "tensorboard" / f"{algorithm}_0"))
    return Logger(str(folder), [output])


class _ContinuedCsv(CSVOutputFormat):
    """Stable-Baselines3's CSV file, which begins with the rows of an earlier part of the training."""

    def __init__(self, file: Path, step: int) -> None:
        rows: list[dict[str, str]] = []
        if file.is_file():
            with file.open(newline="") as earlier:
                rows = [row for row in csv.DictReader(earlier) if row.get(STEP) and int(row[STEP]) <= step]
        super().__init__(str(file))
        for row in rows:
            self.write(row, dict.fromkeys(row, ()))


class _WandbOutput(KVWriter):
    """Writes to a run of Weights & Biases, the same one whenever the training goes on."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        wandb = _import_wandb()
        place = folder / "wandb"
        place.mkdir(exist_ok=True)
        known = place / "run_id.txt"
        if not known.exists():
            known.write_text(uuid.uuid4().hex[:12])
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", _PROJECT),
                name=os.environ.get("WANDB_NAME", folder.name),
                id=known.read_text(),
                resume="allow",
                dir=str(folder),
                config=dict(config),
            )
        except wandb.Error as error:
            raise OptionError(
                f"logger=wandb cannot begin ({first_line(error)}): log in by `wandb login`, or set WANDB_MODE=offline."
            ) from error

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        """Write the metrics of a step."""
        self._run.log({name: value for name, value in key_values.items() if name != STEP}, step=step)

    def close(self) -> None:
        """Let the run end."""
        self._run.finish()


def _import_wandb() -> ModuleType:
    try:
        import wandb
    except ImportError as error:
        raise OptionError("logger=wandb needs wandb: pip install 'alignsam-gym[wandb]'.") from error
    return wandb
