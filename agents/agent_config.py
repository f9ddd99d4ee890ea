"""What a trained agent needs to act, drawn from a configuration that anyone may have written."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NoReturn

from omegaconf import OmegaConf

from alignsam_gym.agents.trained_run import CONFIG, GROUPS, load_config
from alignsam_gym.envs.episode_factory import make_episode, needs_text
from alignsam_gym.errors import WeightsError
from alignsam_gym.foundation.sam.official_checkpoints import CHECKPOINTS, file_digest
from alignsam_gym.srm import SRMConfig

DIGEST = "sha256:"
"""How a recipe names weights that are nobody's official ones: this, and their SHA-256; a CLIP's architecture before."""

_NUMBERS = {
    "env": {"image_size": 4096, "patch_size": 4096, "max_steps": 1000, "cells": 1024},
    "srm": {"width": 1024, "folds": 64},
    "policy": {"width": 1024},
    "agent": {"n_steps": 100_000, "buffer_size": 1_000_000},
}
"""Whole numbers from 1, and the largest that is believed: more would fill the memory."""
_WORDS = (
    "sam", "clip", "branch", "label_source", "initial_prompts", "state", "revisit", "precision", "decode_precision",
)  # fmt: skip
_SWITCHES = ("stop", "mask_prompt")
_MOST_PATCHES = 64  # a side
_WIDEST = 8192  # channels of a side's patches together, whose square is the weights of a layer
_DEEPEST = 16  # layers of an LSTM
_MOST_TRUST = 1000


@dataclass(frozen=True)
class Recipe:
    """The part of a configuration that prediction depends on.

    env: keywords of ``AlignSAM-v0``. srm: of `SRMConfig`. agent, policy: these config groups, for `make_policy`.
    dataset: the name of what it was trained on. text: what it was trained to look for, where a text guides it; None
    if that differs by image.
    """

    env: dict[str, Any]
    srm: dict[str, Any]
    agent: dict[str, Any]
    policy: dict[str, Any]
    dataset: str
    text: str | None

    @property
    def guided(self) -> bool:
        """Whether a text guides the agent."""
        words = (str(self.env.get(name)) for name in ("branch", "label_source", "initial_prompts"))
        return needs_text(*words)

    def write(self, folder: Path) -> None:
        """Write the ``config.yaml`` that `read_recipe` reads."""
        groups = {"env": self.env, "srm": self.srm, "agent": self.agent, "policy": self.policy}
        OmegaConf.save(
            OmegaConf.create({**groups, "dataset": {"name": self.dataset, "text": self.text}}), folder / CONFIG
        )


def read_recipe(folder: Path) -> Recipe:
    """The recipe of a run or bundle. Raises WeightsError for what no training writes.

    Names of options, types and sizes are checked, so that a stranger's file cannot fill the memory. What it names as
    ``env.sam`` and ``env.clip`` may be any word: ask `official` before anything is opened.
    """
    values: Any = OmegaConf.to_container(load_config(folder))
    try:
        return _checked(values)
    except _RefusalError as problem:
        raise WeightsError(f"{folder / CONFIG} is refused: {problem}.") from None


class _RefusalError(Exception):
    """What is wrong with a configuration."""


def _checked(config: Mapping[str, Any]) -> Recipe:
    env, srm, agent, policy, dataset = (config[name] for name in GROUPS)
    _check_names("env", env, {*inspect.signature(make_episode).parameters, "num_envs"})
    _check_names("srm", srm, {field.name for field in fields(SRMConfig)})
    for group, limits in _NUMBERS.items():
        for name, limit in limits.items():
            value = config[group].get(name, 1)
            if type(value) is not int or not 1 <= value <= limit:
                _refuse_value(group, name, value, f"a whole number from 1 to {limit}")
    trust = srm.get("clip_logit_weight", 0)
    if type(trust) not in (int, float) or not 0 <= trust <= _MOST_TRUST:
        _refuse_value("srm", "clip_logit_weight", trust, f"a number from 0 to {_MOST_TRUST}")
    for kind, names in ((str, _WORDS), (bool, _SWITCHES)):
        for name in names:
            if not isinstance(value := env.get(name, kind()), kind):
                _refuse_value("env", name, value, "a word" if kind is str else "true or false")
    if env.get("image_size", 800) > _MOST_PATCHES * env.get("patch_size", 80):
        raise _RefusalError(f"env.patch_size makes more than {_MOST_PATCHES} patches a side")
    side = env.get("image_size", 800) // env.get("patch_size", 80)
    if policy.get("width", 1) * side > _WIDEST:
        raise _RefusalError(f"policy.width and {side} patches a side make more than {_WIDEST} channels together")
    sizes = agent.get("policy_kwargs", {})
    if not isinstance(sizes, dict) or not all(type(one) in (int, float) and 0 < one <= 1024 for one in sizes.values()):
        _refuse_value("agent", "policy_kwargs", sizes, "numbers up to 1024 by name")
    if (layers := sizes.get("n_lstm_layers", 1)) > _DEEPEST:
        _refuse_value("agent", "policy_kwargs.n_lstm_layers", layers, f"a number up to {_DEEPEST}")
    for group, values in (("agent", {**agent, "policy_kwargs": None}), ("policy", policy)):
        for name, value in values.items():
            many = value if isinstance(value, list) else [value]
            if not all(isinstance(one, str | int | float | None) for one in many):
                _refuse_value(group, name, value, "a value or a list of values")
    text = config.get("text", dataset.get("text"))  # where it was learned, or where a bundle has it
    if not isinstance(text, str | None):
        raise _RefusalError(f"text={text!r} is not a text")
    chosen = {name: env[name] for name in (*_WORDS, *_NUMBERS["env"], *_SWITCHES) if name in env}
    seen = {name: srm[name] for name in (*_NUMBERS["srm"], "clip_logit_weight") if name in srm}
    return Recipe(chosen, seen, agent, policy, str(dataset.get("name", "")), text)


def _check_names(group: str, values: Mapping[str, Any], known: Collection[str]) -> None:
    if unknown := [name for name in values if name not in known]:
        raise _RefusalError(
            f"{group}.{unknown[0]} is unknown here (does it come from a newer version of alignsam-gym?)"
        )


def _refuse_value(group: str, name: str, value: object, wanted: str) -> NoReturn:
    raise _RefusalError(f"{group}.{name}={value!r} is not {wanted}")


def official(kind: str, name: str) -> bool:
    """Whether `name`, a recipe's ``sam`` or ``clip`` (`kind`), is one of the published models, and so no file."""
    if name == "tiny" or kind == "sam":
        return name == "tiny" or name in CHECKPOINTS
    import open_clip  # takes seconds

    architecture, _, tag = name.partition("/")
    return tag in open_clip.list_pretrained_tags_by_model(architecture)


def weights_file(kind: str, name: str) -> Path:
    """The file that `name` tells of, where it is not `official`."""
    return Path(name if kind == "sam" else name.partition("/")[2]).expanduser()


def portable(kind: str, name: str) -> str:
    """`name` as others may read it: a file of this machine by its SHA-256. Raises WeightsError if it is missing."""
    if is_digest(kind, name) or official(kind, name):
        return name
    file = weights_file(kind, name)
    if not file.is_file():
        raise WeightsError(f"env.{kind}={name!r} is no file on this machine, so that its SHA-256 cannot be told.")
    architecture = "" if kind == "sam" else f"{name.partition('/')[0]}/"
    return f"{architecture}{DIGEST}{file_digest(file)}"


def is_digest(kind: str, name: str) -> bool:
    """Whether `name` is what `portable` makes of a file."""
    return (name if kind == "sam" else name.partition("/")[2]).startswith(DIGEST)
