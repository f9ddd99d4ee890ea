"""What Hydra composes beside the files in conf/: the options' types, and a choice for each data set, SAM and CLIP.

Everything here follows from where it is declared: `EnvConfig`, `SRMConfig`, the constructors of data sets, and the
registry of checkpoints.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import Field, field, fields, make_dataclass
from functools import reduce
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_origin, get_type_hints

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING as NOT_GIVEN
from omegaconf import ListConfig, OmegaConf

from alignsam_gym.data import DATASETS, dataset_parameters
from alignsam_gym.envs.env_config import EnvConfig, VectorEnvConfig
from alignsam_gym.experiments.command_help import CONF
from alignsam_gym.experiments.command_keys import ENV_KEYS, own_key_types
from alignsam_gym.experiments.run_config import folder_name
from alignsam_gym.foundation.sam.official_checkpoints import CHECKPOINTS
from alignsam_gym.options import Options, alternatives, preset_values
from alignsam_gym.srm import SRMConfig

CLIPS = {"tiny": "tiny", "vit_b_16": "ViT-B-16/openai"}
"""Names of CLIPs on the command line -> the environment's option."""

_PLAIN = (bool, int, float, str)


def register() -> None:
    """Put the schemas and choices into Hydra's store, from which every command composes."""
    store = ConfigStore.instance()
    store.store("options", schema(VectorEnvConfig, ENV_KEYS["options"]), group="env")
    store.store("options", schema(SRMConfig), group="srm")
    best = preset_values("best", "env")
    for part in ("encoding", "labelled"):
        store.store(part, schema(EnvConfig, ENV_KEYS[part], best), group="env")
    for name in ("tiny", *CHECKPOINTS):
        store.store(name, {"sam": name}, group="sam", package="env")
    for name, option in CLIPS.items():
        store.store(name, {"clip": option}, group="clip", package="env")
    for name in DATASETS:
        store.store(name, dataset_schema(name), group="dataset")
    for file in CONF.glob("*.yaml"):
        store.store(f"{file.stem}_types", command_schema(file.stem))


def _folder_name(overrides: ListConfig) -> str:
    texts: Any = OmegaConf.to_container(overrides)
    return folder_name(texts)


# Here and not in `register`: a process that a launcher starts needs it before it calls anything of ours.
OmegaConf.register_new_resolver("folder_name", _folder_name, replace=True)


def schema(options: type[Options], names: Collection[str] | None = None, values: Mapping[str, Any] = {}) -> type:
    """Make the dataclass that Hydra checks a group of the configuration by.

    Args:
        options: The options' declaration.
        names: Those that belong to the group; all by default.
        values: Defaults of options that have none of their own. Without one, a preset must give the value.
    """
    hints = get_type_hints(options)
    parts = [
        (each.name, plain_type(hints[each.name]), _default(each, values))
        for each in fields(options)
        if names is None or each.name in names
    ]
    return make_dataclass(options.__name__, parts)


def dataset_schema(name: str) -> type:
    """Make the dataclass of a data set's group from its constructor's parameters."""
    parts: list[tuple[str, Any, Any]] = [("name", str, field(default=name))]
    for parameter in dataset_parameters(name).values():
        parts.append((parameter.name, plain_type(parameter.annotation), field(default=parameter.default)))
    return make_dataclass("DatasetOptions", parts)


def command_schema(command: str) -> dict[str, Any]:
    """Make the nested nodes that Hydra checks a command's own keys by. The values are in its file in conf/."""
    nodes: dict[str, Any] = {}
    for key, hint in own_key_types(command).items():
        *groups, name = key.split(".")
        place = reduce(lambda within, group: within.setdefault(group, {}), groups, nodes)
        place[name] = OmegaConf.structured(make_dataclass("Key", [(name, plain_type(hint), NOT_GIVEN)]))._get_node(name)
    return nodes


def plain_type(hint: Any) -> Any:
    """The type that Hydra knows for an annotation: a number, a switch or a text, perhaps none; else anything.

    Objects, such as a loaded model, are left out, as no configuration has them. A path or one of several words is a
    text.
    """
    kinds = {str if kind is Path or get_origin(kind) is Literal else kind for kind in alternatives(hint)}
    plain = kinds & {*_PLAIN}
    if len(plain) != 1 or any(get_origin(kind) for kind in kinds):
        return Any
    return plain.pop() | None if NoneType in kinds else plain.pop()


def _default(declared: Field[Any], values: Mapping[str, Any]) -> Any:
    if isinstance(declared.default, (*_PLAIN, NoneType)):
        return field(default=declared.default)
    return field(default=values.get(declared.name, NOT_GIVEN))
