"""Cells of the plan -> runs, each a folder and the command that fills it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

from hydra import compose
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf

from alignsam_gym.agents.trained_run import dataset_options
from alignsam_gym.agents.training_state import CHECKPOINT
from alignsam_gym.data import Dataset, load_dataset, preferred_branch
from alignsam_gym.errors import DataError, OptionError, check_choice
from alignsam_gym.evaluation.intervals import METRICS
from alignsam_gym.experiments.reproduce.plan import FIGURES, TRAINING_WAYS, Cell, Evaluation

_OVERRIDES = "overrides.json"
_SHARED = (
    *(f"env.{name}" for name in ("sam", "clip", "image_size", "precision", "shots", "shots_per", "on_error")),
    *("device", "cache_dir", "evaluate.batch_size", "evaluate.limit"),
)
_OF_THE_DATA = ("dataset.", "env.shots_seed=")
"""How those overrides begin that a baseline takes as they are given."""


@dataclass
class Run:
    """One folder, and the command that fills it; then its evaluations, which need it.

    module: of `experiments`. overrides: all that the results depend on.
    """

    folder: Path
    module: str
    overrides: tuple[str, ...]
    evaluations: dict[str, Run] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return "/".join(self.folder.parts[-3:])

    @property
    def finished(self) -> bool:
        return (self.folder / METRICS).exists()

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    def command(self) -> list[str]:
        """As it is now: a training that was interrupted goes on."""
        here, overrides = _quoted(self.folder), list(self.overrides)
        if self.module == "evaluate":
            arguments = [*overrides, f"run={_quoted(self.folder.parent)}", f"output={here}"]
        elif self.module == "train" and (self.folder / CHECKPOINT).exists():
            arguments = [f"resume={here}", f"hydra.run.dir={here}"]
        else:
            arguments = [*overrides, f"hydra.run.dir={here}"]
        return [sys.executable, "-m", f"experiments.{self.module}", *arguments]

    def claim(self) -> None:
        """Note the overrides in the folder. Raises OptionError if it holds a run of others."""
        note = self.folder / _OVERRIDES
        if self.folder.exists() and [*self.folder.iterdir()] == [note]:  # claimed, and never begun
            note.unlink()
        if note.exists():
            kept = tuple(json.loads(note.read_text()))
            if kept != self.overrides:
                was, now = ({*a} - {*b} for a, b in ((kept, self.overrides), (self.overrides, kept)))
                raise OptionError(
                    f"{self.folder} holds a run of another configuration ({_listed(was)} there, {_listed(now)} now); "
                    f"choose another output=, or delete that folder to run it again."
                )
        elif self.finished:
            raise OptionError(f"{self.folder} holds a run of unknown configuration; choose another output=.")
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            note.write_text(json.dumps(self.overrides, indent=1))


class Runs:
    """The runs behind cells, each once.

    config: of `experiments.reproduce`. Raises OptionError for a task or override that does not exist.
    """

    def __init__(self, config: DictConfig) -> None:
        self.config, self.output = config, Path(config.output).resolve()
        self.common = tuple(config.overrides)
        self.found: dict[Path, Run] = {}
        self._composed: dict[tuple[str, tuple[str, ...]], DictConfig] = {}
        self._known: dict[tuple[str, tuple[str, ...]], tuple[str, ...]] = {}
        for task in config.tasks:
            check_choice("tasks", task, tuple(FIGURES))

    def dataset(self, task: str) -> str:
        """The data set that stands for a task, as the command line names it."""
        return self._source(task)[0].removeprefix("dataset=")

    def check_categories(self, task: str) -> None:
        """Raises OptionError if a task's data set has no categories, or one alone."""
        with suppress(DataError):  # of data that is not here, whose runs will say so
            samples = _test_split(self._configuration(task, ()))
            if len(set(getattr(samples, "categories", ()))) < 2:
                raise OptionError(f"tasks.{task}={samples.name}: it has not several categories, as the table needs.")

    def of(self, cell: Cell, seed: int) -> Run:
        """The run that has a cell's figure for a seed."""
        source = self._source(cell.task)
        if cell.baseline:
            overrides = (f"method={cell.baseline}", *self._shared(cell.task, cell.variant))
            run = self._run("baseline", source, (cell.baseline, *cell.variant), seed, overrides)
        else:
            variant = self._effective(cell.task, cell.variant)
            strategies = list(TRAINING_WAYS) if not variant else ["agent"]
            run = self._run(
                "train", source, variant, seed, (*self.common, *variant, f"evaluate.strategies={strategies}")
            )
        return self._evaluation(run, cell.evaluation) if cell.evaluation else run

    def _source(self, task: str) -> tuple[str, ...]:
        value = self.config.tasks[task]
        name, *further = value if isinstance(value, ListConfig) else [value]
        return (f"dataset={name}", *further)

    def _run(
        self, module: str, source: Sequence[str], variant: Sequence[str], seed: int, overrides: Sequence[str]
    ) -> Run:
        """That of a folder of its own for each data set, variant and seed."""
        names = ("_".join(source).removeprefix("dataset="), "_".join(variant) or "default", f"seed={seed}")
        folder = self.output.joinpath("runs", *(re.sub(r"[^\w.=,-]+", "_", name) for name in names))
        if folder not in self.found:
            self.found[folder] = Run(folder, module, (*source, *overrides, f"seed={seed}"))
        return self.found[folder]

    def _evaluation(self, run: Run, evaluation: Evaluation) -> Run:
        if evaluation.name not in run.evaluations:
            folder = run.folder / evaluation.name
            run.evaluations[evaluation.name] = Run(folder, "evaluate", evaluation.overrides)
        return run.evaluations[evaluation.name]

    def _shared(self, task: str, variant: tuple[str, ...]) -> Iterator[str]:
        """What a baseline must have as the training has it: model, data, device."""
        config = self._configuration(task, variant)
        for key in _SHARED:
            value = OmegaConf.select(config, key)
            yield f"{key}={'null' if value is None else _quoted(value) if isinstance(value, str) else value}"
        yield from (each for each in self.common if each.lstrip("+~").startswith(_OF_THE_DATA))

    def _effective(self, task: str, variant: tuple[str, ...]) -> tuple[str, ...]:
        """Nothing, if a variant is what the configuration itself comes to, so that one run serves both."""
        if (task, variant) not in self._known:
            own, varied = deepcopy(self._configuration(task, ())), self._configuration(task, variant)
            if own.env.branch == "auto" != varied.env.branch:
                own.env.branch = preferred_branch(_test_split(own))
            self._known[task, variant] = () if own == varied else variant
        return self._known[task, variant]

    def _configuration(self, task: str, variant: tuple[str, ...]) -> DictConfig:
        if (task, variant) not in self._composed:
            try:
                self._composed[task, variant] = compose("train", [*self._source(task), *self.common, *variant])
            except HydraException as error:
                raise OptionError(f"tasks.{task}, or overrides: {error}") from error
        return self._composed[task, variant]


def _test_split(config: DictConfig) -> Dataset:
    name, options = dataset_options(config)
    return load_dataset(name, "test", **options)


def _listed(overrides: Iterable[str]) -> str:
    return " ".join(sorted(overrides)) or "nothing"


def _quoted(value: Path | str) -> str:
    return "'" + str(value).replace("'", "\\'") + "'"
