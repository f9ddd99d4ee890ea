"""Refuses the arguments that a command has no use for, before Hydra composes its configuration.

Hydra would advise to add such a key by a plus, and the command would go on as if it were not there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from hydra._internal.utils import get_args_parser

from alignsam_gym.data import DATASETS, USER_DATASETS, dataset_parameters
from alignsam_gym.errors import OptionError, check_option_names, nearest
from alignsam_gym.experiments.command_keys import default_choice, key_types

_OPEN = ("agent", "hydra")
"""Groups to which a key may be added: Stable-Baselines3 or Hydra says whether there is one of its name."""
_FOR_A_WORD = (
    *("run=", "predictions=", "runs=", "run_dirs=", "photographs=", "table=", "names="),
    "dataset=folder dataset.root=",
)
"""What a command may be meant to take a word for that was typed alone."""


def check_arguments(command: str, arguments: Sequence[str]) -> None:
    """Raise `OptionError` if an argument is none, or sets a key that the command has not.

    A user's own files of configuration, ``--config-dir`` or ``hydra.searchpath``, may have further keys: then nothing
    is checked.

    Args:
        command: The name of its file in conf/, without ``.yaml``.
        arguments: As they were typed.
    """
    given, others = get_args_parser().parse_known_args([*arguments])
    has_own_files = given.config_dir or given.config_path or given.config_name
    if has_own_files or given.shell_completion or any("hydra.searchpath=" in word for word in given.overrides):
        return
    known = key_types(command)
    for option in others:
        if option.startswith("-"):
            name = option.lstrip("-").partition("=")[0].replace("-", "_")
            example = "".join(f", such as {key}=…" for key in _nearest_keys(name, known)[:1])
            raise OptionError(f"{option} is no option of {command}: arguments are KEY=VALUE{example}.")
    words = [word for word in given.overrides + others if not word.startswith("~")]
    for word in words:
        if "=" not in word:
            example = next(each for each in _FOR_A_WORD if each.split("=")[0] in known)
            raise OptionError(f"{word}: arguments are KEY=VALUE, such as {example}{word}.")
    values = {key: value for key, _, value in (word.lstrip("+").partition("=") for word in words)}
    for key in values:
        _check_key(key.partition("@")[0], command, known)
    chosen = values.get("dataset", default_choice(command, "dataset") or "")
    if "," not in chosen:  # of a sweep
        options = [key.split(".")[1] for key in values if key.startswith("dataset.") and key != "dataset.name"]
        _check_dataset_options(options, chosen.strip("'\""), "dataset" in values)


def _check_key(key: str, command: str, known: Collection[str]) -> None:
    is_group = any(name.startswith(f"{key}.") for name in known)
    if key in known or is_group or key.replace("/", ".").split(".")[0] in _OPEN:
        return
    proposals = _nearest_keys(key, known)
    hint = f"; did you mean {' or '.join(proposals)}?" if proposals else f": alignsam {command} --cfg job prints them."
    raise OptionError(f"{key} is no key of {command}{hint}")


def _nearest_keys(key: str, known: Iterable[str]) -> list[str]:
    """Return the keys of the same last name, or else of the most alike one; only that of its own group, if any."""
    last = {name: name.rpartition(".")[2] for name in known if not name.startswith("hydra")}
    group, _, typed = key.rpartition(".")
    meant = typed if typed in last.values() else nearest(typed, last.values())
    same = [name for name in last if last[name] == meant]
    return [name for name in same if name == f"{group}.{meant}"] or same


def _check_dataset_options(options: Iterable[str], chosen: str, was_typed: bool) -> None:
    """Raise `OptionError` for an option of another data set than the chosen one, or of any if there is none."""
    if chosen not in DATASETS and was_typed:
        return  # Hydra lists those that there are
    known = dataset_parameters(chosen) if chosen else {}
    for option in options:
        if was_typed:
            check_option_names(f"dataset={chosen}", [option], known)
        elif option not in known:
            owners = [name for name in (*USER_DATASETS, *DATASETS) if option in dataset_parameters(name)]
            names = list(dict.fromkeys(owners))
            raise OptionError(f"dataset.{option} belongs to dataset={', '.join(names)}; add dataset={names[0]}.")
