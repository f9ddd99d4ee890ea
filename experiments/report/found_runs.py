"""Runs as a report sees them: found below folders, and those that differ in their seed alone together."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import multimode
from typing import Any

import numpy as np
import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from alignsam_gym.agents.metrics_file import read_metrics
from alignsam_gym.agents.trained_run import METRICS_FILE
from alignsam_gym.errors import DataError, first_line
from alignsam_gym.experiments.run_config import ANY_MACHINE, FOUND_OUT, VERSIONS_FILE, flatten

_CONFIGS = ("config.yaml", ".hydra/config.yaml")
_MARKS = (*_CONFIGS, "overrides.json")
"""Files that a run begins with, in its folder."""
_LOGS = ("log.txt", "train.log", "baseline.log")
_IGNORED = ("seed", "env.shots_seed", "dataset.seed", "run", "output", FOUND_OUT, *ANY_MACHINE)
"""Keys in which runs of one configuration may differ."""
_TAIL = 15  # lines


@dataclass(frozen=True)
class FoundRun:
    """A folder that a run began in.

    Attributes:
        folder: The run's.
        config: Its configuration, flat, by dotted key.
        metrics: What its ``metrics.json`` holds; None if it did not finish.
    """

    folder: Path
    config: Mapping[str, Any]
    metrics: Mapping[str, Any] | None

    @property
    def shared_config(self) -> dict[str, Any]:
        """What runs of one configuration have in common; ``auto``, where each training found out a value."""
        found_out = dict.fromkeys(self.config.get(FOUND_OUT, ()), "auto")
        return {key: value for key, value in {**self.config, **found_out}.items() if key not in _IGNORED}

    @property
    def versions(self) -> dict[str, str]:
        """What computed the run, by package.

        Raises:
            DataError: If the file that says so is damaged.
        """
        file = self.folder / VERSIONS_FILE
        try:
            return dict(json.loads(file.read_text())) if file.exists() else {}
        except (OSError, ValueError, TypeError) as error:
            raise DataError(f"{file} cannot be read ({error}); delete it, as nothing else needs it.") from error

    @property
    def logs(self) -> list[Path]:
        """The log files in its folder."""
        return [self.folder / name for name in _LOGS if (self.folder / name).exists()]

    @property
    def log_tail(self) -> str:
        """The end of the log of a run that has one."""
        lines = self.logs[0].read_text(errors="replace").splitlines()
        return "\n".join(lines[-_TAIL:])


@dataclass(frozen=True)
class RunGroup:
    """Finished runs of one configuration.

    Attributes:
        name: The part of their folders that they share; behind it what they differ in from groups that share it, too.
        runs: In the order of their folders.
    """

    name: str
    runs: Sequence[FoundRun]

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """What each run's ``metrics.json`` holds."""
        return [dict(run.metrics) for run in self.runs if run.metrics is not None]

    @property
    def seeds(self) -> str:
        """The runs' seeds, as a table shows them."""
        return ", ".join(str(metrics["seed"]) for metrics in self.metrics)

    @property
    def first_strategy(self) -> str:
        """The first prompting strategy that was measured, by default the agent."""
        return str(next(iter(self.metrics[0]["prompting"])))

    def worst(self, count: int) -> list[tuple[str, float]]:
        """List the test images with the lowest IoU by the first prompting strategy.

        Args:
            count: At most so many.

        Returns:
            Ids and mean IoU over runs, the lowest first.
        """
        found: dict[str, list[float]] = defaultdict(list)
        for metrics in self.metrics:
            for image, iou in metrics["iou_by_image"][self.first_strategy].items():
                found[image].append(iou)
        means = [(image, float(np.mean(ious))) for image, ious in found.items()]
        return sorted(means, key=lambda mean: mean[1])[:count]


def finished_folders(places: Sequence[Path]) -> list[Path]:
    """Find the folders of the finished runs below some places, each once; evaluations inside of runs are left out.

    Raises:
        DataError: If there is none below one of the places.
    """
    found = {place: {file.parent for file in place.resolve().rglob(METRICS_FILE)} for place in places}
    empty = [str(place) for place, folders in found.items() if not folders]
    if empty or not found:
        raise DataError(
            f"There is no {METRICS_FILE} below {', '.join(empty) or 'no folder at all'}; is each name right, and has a "
            "training finished there?"
        )
    return _outermost(folder for folders in found.values() for folder in folders)


def _outermost(folders: Iterable[Path]) -> list[Path]:
    """Return the folders that are below no other one, sorted.

    A run keeps evaluations in its own folder; they are no runs beside it.
    """
    found = set(folders)
    return sorted(folder for folder in found if not found & set(folder.parents))


def find_runs(places: Sequence[Path]) -> list[FoundRun]:
    """Find the runs below some places: finished ones as `finished_folders` does, and those that only began.

    Raises:
        DataError: If there is no finished run below one of the places, or a file is damaged.
    """
    finished, begun = finished_folders(places), set[Path]()
    for place in places:
        for mark in _MARKS:
            begun |= {file.parents[mark.count("/")] for file in place.resolve().rglob(mark)}
    unfinished = {folder for folder in begun if folder.name != ".hydra" and not (folder / METRICS_FILE).exists()}
    return [read_run(folder) for folder in sorted([*finished, *unfinished])]


def grouped(runs: Sequence[FoundRun]) -> list[RunGroup]:
    """Group the finished runs by configuration and by what they measured."""
    members: dict[str, list[FoundRun]] = defaultdict(list)
    for run in runs:
        if run.metrics is not None:
            alike = [run.shared_config, list(run.metrics["prompting"])]
            members[json.dumps(alike, sort_keys=True, default=str)].append(run)
    groups = list(members.values())
    base = os.path.commonpath([run.folder.parent for group in groups for run in group]) if groups else ""
    return _told_apart([RunGroup(_shared_name(group, base), group) for group in groups])


def _told_apart(groups: Sequence[RunGroup]) -> list[RunGroup]:
    """Put what groups of one name differ in behind that name, and these groups beside each other."""
    namesakes: dict[str, list[RunGroup]] = defaultdict(list)
    for group in groups:
        namesakes[group.name].append(group)
    return [
        replace(group, name=", ".join([name, *different]))
        for name, alike in namesakes.items()
        for group, different in zip(alike, differences(alike), strict=True)
    ]


def _shared_name(runs: Sequence[FoundRun], base: str) -> str:
    shared = Path(os.path.commonpath([run.folder for run in runs]))
    return str(shared.relative_to(base)) if shared != Path(base) else shared.name


def differences(groups: Sequence[RunGroup]) -> list[list[str]]:
    """Say how each group's configuration differs from most others.

    Returns:
        ``key=value`` of each key whose value is not the usual one; of all keys that differ, where no value is usual.
    """
    configs = [{key: str(value) for key, value in group.runs[0].shared_config.items()} for group in groups]
    keys = sorted({key for config in configs for key in config})
    usual = {key: multimode(config.get(key) for config in configs) for key in keys}
    return [
        [f"{key}={config[key]}" for key in keys if key in config and usual[key] != [config[key]]] for config in configs
    ]


def read_run(folder: Path) -> FoundRun:
    """Read a run's configuration and metrics.

    Raises:
        DataError: If one of the files is damaged.
    """
    files = [folder / name for name in _CONFIGS if (folder / name).exists()]
    metrics = folder / METRICS_FILE
    return FoundRun(
        folder, _read_config(files[0]) if files else {}, read_metrics(metrics) if metrics.exists() else None
    )


def _read_config(file: Path) -> dict[str, Any]:
    try:
        config = OmegaConf.to_container(OmegaConf.load(file))
        if not isinstance(config, dict):
            raise ValueError("it is a list")
        return flatten(config)
    except (OSError, ValueError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise DataError(
            f"{file} is no configuration of a run ({first_line(error)}); restore it, or take that run's folder out."
        ) from error
