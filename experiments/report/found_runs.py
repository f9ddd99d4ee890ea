"""Runs as a report sees them: found below folders, and those that differ in their seed alone together."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import multimode
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from alignsam_gym.evaluation.intervals import METRICS, outermost, read_metrics
from alignsam_gym.experiments.run_folder import flatten

_CONFIGS = ("config.yaml", ".hydra/config.yaml")
_MARKS = (*_CONFIGS, "overrides.json")
_LOGS = ("log.txt", "train.log", "baseline.log")
_ASIDE = ("seed", "env.shots_seed", "dataset.seed", "run", "output", "resume", "device", "cache_dir")
"""Keys in which runs of one configuration may differ."""
_TAIL = 15  # lines


@dataclass(frozen=True)
class Run:
    """config: flat, by dotted key. metrics: None if it did not finish."""

    folder: Path
    config: Mapping[str, Any]
    metrics: Mapping[str, Any] | None

    @property
    def configuration(self) -> dict[str, Any]:
        """What runs of one configuration have in common."""
        return {key: value for key, value in self.config.items() if key not in _ASIDE}

    @property
    def versions(self) -> dict[str, str]:
        file = self.folder / "versions.json"
        return json.loads(file.read_text()) if file.exists() else {}

    @property
    def logs(self) -> list[Path]:
        return [self.folder / name for name in _LOGS if (self.folder / name).exists()]

    @property
    def log_tail(self) -> str:
        """The end of the log of a run that has one."""
        return "\n".join(self.logs[0].read_text(errors="replace").splitlines()[-_TAIL:])


@dataclass(frozen=True)
class Group:
    """Finished runs of one configuration. name: the part of their folders that they share."""

    name: str
    runs: Sequence[Run]

    @property
    def metrics(self) -> list[dict[str, Any]]:
        return [dict(run.metrics) for run in self.runs if run.metrics is not None]

    @property
    def seeds(self) -> str:
        return ", ".join(str(metrics["seed"]) for metrics in self.metrics)

    @property
    def first_way(self) -> str:
        return next(iter(self.metrics[0]["prompting"]))

    def worst(self, count: int) -> list[tuple[str, float]]:
        """Test images with the lowest IoU by the first way of prompting, the mean over runs: ids and IoU."""
        found: dict[str, list[float]] = defaultdict(list)
        for metrics in self.metrics:
            for name, iou in metrics["iou_by_image"][self.first_way].items():
                found[name].append(iou)
        return sorted(((name, float(np.mean(ious))) for name, ious in found.items()), key=lambda each: each[1])[:count]


def find_runs(folders: Iterable[Path]) -> list[Run]:
    """Every folder below that a run began in, finished or not."""
    places = [folder.resolve() for folder in folders]
    here = {file.parents[name.count("/")] for place in places for name in _MARKS for file in place.rglob(name)}
    return [read_run(folder) for folder in sorted(here) if folder.name != ".hydra"]


def grouped(runs: Sequence[Run]) -> list[Group]:
    """Finished runs, by configuration."""
    folders = {*outermost(run.folder for run in runs)}
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        if run.metrics is not None and run.folder in folders:
            alike = [run.configuration, list(run.metrics["prompting"])]
            groups[json.dumps(alike, sort_keys=True, default=str)].append(run)
    base = os.path.commonpath([run.folder.parent for run in runs]) if runs else ""
    return [Group(_shared_name(members, base), members) for members in groups.values()]


def _shared_name(runs: Sequence[Run], base: str) -> str:
    shared = Path(os.path.commonpath([run.folder for run in runs]))
    return str(shared.relative_to(base)) if shared != Path(base) else shared.name


def differences(groups: Sequence[Group]) -> list[list[str]]:
    """What is unlike most others in each group's configuration, as ``key=value``; all, where no value is usual."""
    values = [{key: str(value) for key, value in group.runs[0].configuration.items()} for group in groups]
    keys = sorted({key for each in values for key in each})
    usual = {key: multimode(each.get(key) for each in values) for key in keys}
    return [[f"{key}={each[key]}" for key in keys if key in each and usual[key] != [each[key]]] for each in values]


def read_run(folder: Path) -> Run:
    """Raises DataError for a torn `METRICS`."""
    files = [folder / name for name in _CONFIGS if (folder / name).exists()]
    config = flatten(OmegaConf.to_container(OmegaConf.load(files[0]))) if files else {}
    metrics = folder / METRICS
    return Run(folder, config, read_metrics(metrics) if metrics.exists() else None)
