"""The configuration that a run leaves in its folder: written, and compared with another."""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Collection, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

import alignsam_gym
from alignsam_gym.agents.trained_run import CONFIG, load_config
from alignsam_gym.atomic_write import write_atomically

VERSIONS_FILE = "versions.json"
LONGEST_NAME = 120
"""Characters of a folder's name; file systems take 255 bytes."""
_LONGEST_OVERRIDE = 40
ANY_MACHINE = ("resume", "device", "cache_dir", "logger")
"""Keys that a run's results do not depend on, so that its folder is not named by them."""
FOUND_OUT = "found_out"
"""Lists the keys that were ``auto`` until a training set them, each seed by its own labelled images."""
_PACKAGES = ("torch", "gymnasium", "stable-baselines3", "segment-anything", "numpy")


def save_config(folder: Path, config: DictConfig) -> None:
    """Write the resolved configuration, and the versions of this package, Python and the libraries beside it.

    Raises:
        OSError: They cannot be written. What was there before stays.
    """
    write_atomically(folder / CONFIG, OmegaConf.to_yaml(config, resolve=True).encode())
    versions = {
        "alignsam-gym": alignsam_gym.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        **{name: version(name) for name in _PACKAGES},
    }
    write_atomically(folder / VERSIONS_FILE, json.dumps(versions, indent=2).encode())


def folder_name(overrides: Iterable[str]) -> str:
    """Name a folder by the overrides of its run; the same overrides give the same name, and others another.

    Args:
        overrides: ``key=value`` each, in any order.

    Returns:
        The overrides, such as ``env.max_steps=5_seed=0``. Where they are long, or hold characters that are awkward in a
        name, they are shortened, and the first digits of their SHA-256 stand at the end. Without any, ``default``.
    """
    told = sorted(each for each in overrides if each.lstrip("+").partition("=")[0] not in ANY_MACHINE)
    whole = "_".join(told)
    plain = [re.sub(r"[^A-Za-z0-9_.=,+-]+", "_", each)[:_LONGEST_OVERRIDE].strip("_") for each in told]
    name = "_".join(plain)[:LONGEST_NAME]
    if name == whole:
        return name or "default"
    return f"{name}_{hashlib.sha256(whole.encode()).hexdigest()[:8]}"


def config_diff(folder: Path, config: DictConfig, ignored: Collection[str] = ()) -> list[str]:
    """List the keys that have other values in the configuration that a run left in a folder.

    Args:
        folder: The run's.
        config: What it is compared with.
        ignored: Keys and groups that do not count.

    Returns:
        Dotted keys, sorted.

    Raises:
        WeightsError: If the folder has no configuration of a run.
    """
    kept = flatten(OmegaConf.to_container(load_config(folder), resolve=True))
    now = flatten(OmegaConf.to_container(config, resolve=True))
    different = []
    for key in kept.keys() | now.keys():
        group = key.split(".")[0]
        if key not in ignored and group not in ignored and kept.get(key) != now.get(key):
            different.append(key)
    return sorted(different)


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """Turn nested groups into a single one.

    Args:
        config: Nested dicts; lists count as values.
        prefix: The dotted key of `config` itself.

    Returns:
        Each value by its dotted key.
    """
    if not isinstance(config, dict):
        return {prefix: config}
    flat: dict[str, Any] = {}
    for name, part in config.items():
        flat |= flatten(part, f"{prefix}.{name}".lstrip("."))
    return flat
