"""The runs behind the plan's cells, each a folder and the command that fills it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf

from alignsam_gym.agents.trained_run import METRICS_FILE, dataset_options
from alignsam_gym.agents.training_state import CHECKPOINT
from alignsam_gym.data import Dataset, load_dataset, preferred_branch
from alignsam_gym.errors import DataError, OptionError, check_choice, first_line
from alignsam_gym.experiments.hydra_arguments import hydra_arguments, quoted
from alignsam_gym.experiments.reproduce.plan import TASK_METRICS, TRAINING_STRATEGIES, Evaluation, PlannedCell
from alignsam_gym.experiments.run_config import LONGEST_NAME, folder_name

_OVERRIDES_FILE = "overrides.json"
_SHARED_KEYS = (
    "env.sam",
    "env.clip",
    "env.image_size",
    "env.precision",
    "env.shots",
    "env.shots_per",
    "env.on_error",
    "device",
    "cache_dir",
    "evaluate.split",
    "evaluate.batch_size",
    "evaluate.limit",
)
"""What a baseline must have as the training has it."""
_OF_THE_DATA = ("dataset.", "env.shots_seed=")
"""How those overrides begin that a baseline takes as they are given."""


@dataclass
class PlannedRun:
    """One folder, and the command that fills it; then its evaluations, which need it.

    Attributes:
        folder: Where the run is, or will be.
        module: The command, and the module of `alignsam_gym.experiments` of that name.
        overrides: All that the results depend on.
        evaluations: By name, in folders inside this one.
    """

    folder: Path
    module: str
    overrides: tuple[str, ...]
    evaluations: dict[str, PlannedRun] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What the run is called in messages."""
        return "/".join(self.folder.parts[-3:])

    @property
    def finished(self) -> bool:
        """Whether its folder holds measurements."""
        return (self.folder / METRICS_FILE).exists()

    @property
    def log(self) -> Path:
        """The file that the command's output is added to."""
        return self.folder / "log.txt"

    def command(self) -> list[str]:
        """Return the command that fills the folder as it is now: a training that was interrupted goes on."""
        here, overrides = quoted(self.folder), list(self.overrides)
        if self.module == "evaluate":
            arguments = [*overrides, f"run={quoted(self.folder.parent)}", f"output={here}"]
        elif self.module == "train" and (self.folder / CHECKPOINT).exists():
            arguments = [f"resume={here}", f"hydra.run.dir={here}"]
        else:
            arguments = [*overrides, f"hydra.run.dir={here}"]
        return [sys.executable, "-m", "alignsam_gym.experiments.cli", self.module, *arguments]

    def claim(self) -> None:
        """Note the overrides in the folder.

        Raises:
            OptionError: If the folder holds a run of other overrides.
        """
        note = self.folder / _OVERRIDES_FILE
        never_begun = {note, *(each.folder for each in self.evaluations.values())}
        if self.folder.exists() and never_begun.issuperset(self.folder.iterdir()):  # nothing but claims
            note.unlink(missing_ok=True)
        if note.exists():
            self._check_same(tuple(json.loads(note.read_text())))
        elif self.finished:
            raise OptionError(f"{self.folder} holds a run of unknown configuration; choose another output=.")
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            note.write_text(json.dumps(self.overrides, indent=1))

    def _check_same(self, kept: tuple[str, ...]) -> None:
        there, now = _that_count(kept), _that_count(self.overrides)
        if there != now:
            raise OptionError(
                f"{self.folder} holds a run of another configuration ({_listed(there - now)} there, "
                f"{_listed(now - there)} now); choose another output=, or delete that folder to run it again."
            )


class PlannedRuns:
    """The runs behind cells, each once.

    Attributes:
        config: Of `alignsam_gym.experiments.reproduce`.
        found: The runs so far, by folder.
    """

    def __init__(self, config: DictConfig) -> None:
        """Begin without any run.

        Raises:
            OptionError: If a task does not exist.
        """
        for task in config.tasks:
            check_choice("tasks", task, tuple(TASK_METRICS))
        self.config = config
        self.found: dict[Path, PlannedRun] = {}
        self._output = Path(config.output).resolve()
        self._common = tuple(config.overrides)
        self._composed: dict[tuple[str, tuple[str, ...]], DictConfig] = {}
        self._effective_variants: dict[tuple[str, tuple[str, ...]], tuple[str, ...]] = {}

    def dataset(self, task: str) -> str:
        """Return the data set that stands for a task, as the command line names it."""
        return self._source(task)[0].removeprefix("dataset=")

    def check_categories(self, task: str) -> None:
        """Check that a task's data set has several categories.

        Raises:
            OptionError: If it has none, or one alone.
        """
        with suppress(DataError):  # of data that is not here, whose runs will say so
            samples = _test_split(self._configuration(task, ()))
            if len(set(getattr(samples, "categories", ()))) < 2:
                raise OptionError(f"tasks.{task}={samples.name}: it has not several categories, as the table needs.")

    def find(self, cell: PlannedCell, seed: int) -> PlannedRun:
        """Return the run that has a cell's metric for a seed.

        Raises:
            OptionError: If an override does not exist.
        """
        source = self._source(cell.task)
        if cell.baseline:
            overrides = (f"method={cell.baseline}", *cell.method, *self._shared(cell.task, cell.variant))
            run = self._run("baseline", source, (cell.baseline, *cell.method, *cell.variant), seed, overrides)
        else:
            variant = self._effective(cell.task, cell.variant)
            strategies = ["agent"] if variant else list(TRAINING_STRATEGIES)
            overrides = (*self._common, *variant, f"evaluate.strategies={strategies}")
            run = self._run("train", source, variant, seed, overrides)
        return self._evaluation(run, cell.evaluation) if cell.evaluation else run

    def _source(self, task: str) -> tuple[str, ...]:
        value = self.config.tasks[task]
        name, *further = value if isinstance(value, ListConfig) else [value]
        return (f"dataset={name}", *further)

    def _run(
        self, module: str, source: Sequence[str], variant: Sequence[str], seed: int, overrides: Sequence[str]
    ) -> PlannedRun:
        """Return the run in the folder of its own that each data set, variant and seed has."""
        names = ("_".join(source).removeprefix("dataset="), "_".join(variant) or "default", f"seed={seed}")
        folder = self._output.joinpath("runs", *map(_folder_name, names))
        if folder not in self.found:
            self.found[folder] = PlannedRun(folder, module, (*source, *overrides, f"seed={seed}"))
        return self.found[folder]

    def _evaluation(self, run: PlannedRun, evaluation: Evaluation) -> PlannedRun:
        if evaluation.name not in run.evaluations:
            folder = run.folder / evaluation.name
            run.evaluations[evaluation.name] = PlannedRun(folder, "evaluate", evaluation.overrides)
        return run.evaluations[evaluation.name]

    def _shared(self, task: str, variant: tuple[str, ...]) -> list[str]:
        """List the overrides that give a baseline the training's model, data and device."""
        config = self._configuration(task, variant)
        overrides = [f"{key}={_override_value(OmegaConf.select(config, key))}" for key in _SHARED_KEYS]
        return overrides + [each for each in self._common if each.lstrip("+~").startswith(_OF_THE_DATA)]

    def _effective(self, task: str, variant: tuple[str, ...]) -> tuple[str, ...]:
        """Return nothing if a variant is what the configuration itself comes to, so that one run serves both."""
        if (task, variant) not in self._effective_variants:
            own, varied = deepcopy(self._configuration(task, ())), self._configuration(task, variant)
            if own.env.branch == "auto" and varied.env.branch != "auto":
                own.env.branch = preferred_branch(_test_split(own))
            self._effective_variants[task, variant] = () if own == varied else variant
        return self._effective_variants[task, variant]

    def _configuration(self, task: str, variant: tuple[str, ...]) -> DictConfig:
        if (task, variant) not in self._composed:
            try:
                arguments = hydra_arguments("train", [*self._source(task), *self._common, *variant])
                self._composed[task, variant] = compose("train", arguments)
            except HydraException as error:
                raise OptionError(f"tasks.{task}, or overrides: {first_line(error)}") from error
        return self._composed[task, variant]


def _test_split(config: DictConfig) -> Dataset:
    name, options = dataset_options(config)
    return load_dataset(name, "test", **options)


def _folder_name(text: str) -> str:
    name = re.sub(r"[^\w.=,-]+", "_", text)
    return name if len(name.encode()) <= LONGEST_NAME else folder_name([text])


def _that_count(overrides: Iterable[str]) -> set[str]:
    """Return the overrides without their order, and the last one of those that change the same key."""
    return set({each.partition("=")[0]: each for each in overrides}.values())


def _listed(overrides: Iterable[str]) -> str:
    return " ".join(sorted(overrides)) or "nothing"


def _override_value(value: Any) -> str:
    if value is None:
        return "null"
    return quoted(value) if isinstance(value, str) else str(value)
