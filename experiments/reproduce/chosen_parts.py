"""Which tables and figures a configuration asks for, checked before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, ListConfig

from alignsam_gym.baselines import BASELINES
from alignsam_gym.errors import OptionError, check_choice, check_count
from alignsam_gym.experiments.evaluation_options import check_seed
from alignsam_gym.experiments.reproduce.plan import (
    BEYOND,
    FIGURES,
    TABLES,
    TASK_METRICS,
    PlannedTable,
    beyond,
    make_table,
)

_SET_HERE = {
    "seed": "seeds=[…]",
    "dataset": "tasks.<task>=…",
    "hydra.run.dir": "output=…",
    "resume": "the same command again",
    "evaluate.strategies": "table=…",
}
"""Keys of a training that this command sets for each run, and what says so."""


def check_options(config: DictConfig) -> None:
    """Check the options that would otherwise fail only after hours of training.

    Raises:
        OptionError: If an option is mistaken.
    """
    check_count("jobs", config.jobs, "at least one run at a time")
    check_count("resamples", config.resamples, "an interval needs at least one")
    if not isinstance(config.overrides, ListConfig):
        raise OptionError(f"overrides={config.overrides}: it must be a list, such as \"overrides=['sam=vit_b']\".")
    for override in config.overrides:
        if (key := override.lstrip("+~").partition("=")[0]) in _SET_HERE:
            raise OptionError(f"overrides: {override} is set for each run by {_SET_HERE[key]}; leave it out.")
    for name in ("tasks", "figure7"):
        if not isinstance(config[name], DictConfig):
            raise OptionError(f"{name}={config[name]}: leave it out, or give the keys below it, such as {name}.…=….")
    _check_numbers("seeds", config.seeds)
    _check_numbers("figure7.T", config.figure7["T"])
    _check_numbers("figure7.E", config.figure7.E)
    for seed in config.seeds:
        check_seed(seed)
    _check_names("baselines", config.baselines, tuple(BASELINES))
    _check_names("beyond", config.beyond, tuple(TASK_METRICS))
    _check_names("figure7.tasks", config.figure7.tasks, tuple(TASK_METRICS))


def _check_numbers(name: str, values: Any) -> None:
    if not isinstance(values, ListConfig) or not values or not all(isinstance(value, int) for value in values):
        raise OptionError(f"{name}={values}: it must be a list of whole numbers, such as [5,10,15].")


def _check_names(name: str, values: Any, known: tuple[str, ...]) -> None:
    if not isinstance(values, ListConfig):
        raise OptionError(f"{name}={values}: it must be a list, such as [{known[0]}].")
    for value in values:
        check_choice(name, value, known)


def chosen_tables(config: DictConfig) -> list[PlannedTable]:
    """Plan the tables that are asked for, about the tasks that are there.

    Raises:
        OptionError: If there is no such table.
    """
    tables = []
    for number in _chosen(config.table, [*TABLES, BEYOND], "table"):
        table = beyond(config.beyond) if number == BEYOND else make_table(int(number), config.baselines)
        tables.append(table.of_tasks(config.tasks))
    return tables


def chosen_figures(config: DictConfig) -> list[int]:
    """List the figures that are asked for.

    Raises:
        OptionError: If there is no such figure.
    """
    return [int(number) for number in _chosen(config.figure, FIGURES, "figure")]


def _chosen(asked: Any, known: Sequence[int | str], name: str) -> list[int | str]:
    if asked == "all":  # the paper's
        return [number for number in known if number != BEYOND]
    numbers = list(asked) if isinstance(asked, ListConfig) else [asked]
    for number in numbers:
        if number not in known:
            raise OptionError(f"{name}={number}: there are {', '.join(map(str, known))}, a list of them, and all.")
    return [number for number in known if number in numbers]
