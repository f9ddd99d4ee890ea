"""The type of each key of each command, from where the key is declared.

`hydra_schema` makes Hydra's schemas of these types, and `hydra_arguments` tells texts from numbers by them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_type_hints

import yaml
from hydra.conf import HydraConf

from alignsam_gym.agents.policy_config import PolicyConfig
from alignsam_gym.data import DATASETS, dataset_parameters
from alignsam_gym.envs.env_config import ModelOptions, SampleOptions, VectorEnvConfig
from alignsam_gym.envs.rules import Rules
from alignsam_gym.experiments.command_help import CONF, choices
from alignsam_gym.experiments.run_config import flatten
from alignsam_gym.options import Options
from alignsam_gym.srm import SRMConfig

_OPTIONS = {"env": VectorEnvConfig, "srm": SRMConfig, "policy": PolicyConfig}
"""The groups that a class declares. The constructors of data sets declare the group ``dataset``."""
_ELSEWHERE = {"dataset", "dataset_kwargs", "split"}
"""Options of the environment that stand in other groups of a configuration."""
ENV_KEYS: Mapping[str, Collection[str]] = {
    "options": {each.name for kind in (ModelOptions, SampleOptions, Rules) for each in fields(kind)} - _ELSEWHERE
    | {"num_envs", "compile"},
    "encoding": {"sam", "image_size", "precision"},
    "labelled": {"sam", "clip", "image_size", "precision", "shots", "shots_per", "shots_seed", "on_error"},
}
"""What the choices of the group ``env`` have: what training, encoding, and baselines need."""
_DECLARED: Mapping[str, Any] = {
    **dict.fromkeys(("run", "resume", "predictions", "output", "photographs", "voc_val", "init"), Path),
    **dict.fromkeys(("runs", "run_dirs"), Path | Sequence[Path]),
    **dict.fromkeys(("names", "tasks"), str | Sequence[str]),
    **dict.fromkeys(("overrides", "evaluate.strategies"), Sequence[str]),
    **dict.fromkeys(("episodes", "evaluate.limit"), int),
}
"""Keys of commands whose type their default does not tell; ``tasks`` stands for the keys below it."""


@cache
def key_types(command: str) -> Mapping[str, Any]:
    """Return the types of all keys and groups that a command's arguments may set.

    Args:
        command: The name of its file in conf/, without ``.yaml``.

    Returns:
        Annotations by dotted key. A group's is a `Literal` of its choices.
    """
    types = {**_nested_types(HydraConf, "hydra"), **own_key_types(command)}
    for group, choice in _defaults(command).items():
        chosen = Literal[tuple(choices(group))]  # type: ignore[valid-type]
        types |= {**_group_types(group, choice), group: chosen | None if choice is None else chosen}
    return types


def default_choice(command: str, group: str) -> str | None:
    """Return what a command takes of a group unless an argument says otherwise; None if nothing."""
    return _defaults(command).get(group)


def _defaults(command: str) -> dict[str, str | None]:
    """Return the groups of a command and their choices."""
    listed = [each for each in _read(f"{command}.yaml")["defaults"] if isinstance(each, dict)]
    return {group: choice for each in listed for group, choice in each.items() if not group.startswith("override ")}


@cache
def own_key_types(command: str) -> Mapping[str, Any]:
    """Return the types of the keys that a command's own file in conf/ declares, in no group of files."""
    values = flatten(_read(f"{command}.yaml"))
    own = {key: value for key, value in values.items() if key.split(".")[0] not in ("defaults", "hydra", *_OPTIONS)}
    return {key: _type_of(key, value) for key, value in own.items()}


def _group_types(group: str, choice: str | None) -> dict[str, Any]:
    if group in _OPTIONS:
        hints = _option_types(_OPTIONS[group])
        shown = ENV_KEYS[str(choice)] if group == "env" else hints
        return {f"{group}.{name}": hint for name, hint in hints.items() if name in shown}
    if group == "dataset":
        return {f"dataset.{name}": hint for name, hint in _dataset_types().items()}
    types = {}
    for file in (CONF / group).glob("*.yaml"):
        is_global = file.read_text(encoding="utf-8").startswith("# @package _global_")
        for key, value in flatten(_read(f"{group}/{file.name}"), "" if is_global else group).items():
            if key.split(".")[0] not in ("defaults", *(_OPTIONS if is_global else ())):
                types[key] = _type_of(key, value)
    return types


@cache
def _option_types(options: type[Options]) -> dict[str, Any]:
    hints = get_type_hints(options)
    return {each.name: hints[each.name] for each in fields(options)}


def _dataset_types() -> dict[str, Any]:
    """Unite what the data sets' constructors say of their options."""
    types: dict[str, Any] = {"name": str}
    for name in DATASETS:
        for option, parameter in dataset_parameters(name).items():
            types[option] = types.get(option, parameter.annotation) | parameter.annotation
    return types


def _nested_types(options: type, prefix: str) -> dict[str, Any]:
    types: dict[str, Any] = {}
    for name, hint in get_type_hints(options).items():
        key = f"{prefix}.{name}"
        types |= _nested_types(hint, key) if is_dataclass(hint) and isinstance(hint, type) else {key: hint}
    return types


def _type_of(key: str, default: Any) -> Any:
    """Tell a key's type: as declared, as that of the environment's option of its name, as in training, by its default.

    It may be none if its default is null.
    """
    group, _, name = key.rpartition(".")
    hint = _DECLARED.get(key, _DECLARED.get(group, _option_types(VectorEnvConfig).get(name)))
    if hint is None:
        hint = own_key_types("train").get(key, Any) if default is None else _type_of_value(default)
    return hint | None if default is None and hint is not Any else hint


def _type_of_value(value: Any) -> Any:
    if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
        return Sequence[str]
    if isinstance(value, str) and "${" in value:
        return Any
    return type(value) if isinstance(value, bool | int | float | str) else Any


def _read(file: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((CONF / file).read_text(encoding="utf-8"))
    return values
