"""The help of the commands that Hydra configures, read from their source so that nothing heavy is imported."""

from __future__ import annotations

import ast
import re
from pathlib import Path

EXPERIMENTS = Path(__file__).parent
CONF = EXPERIMENTS.parent / "conf"

_DEFAULTS_LIST = re.compile(r"^defaults:\n(?:[ \t]+\S.*\n)*\n*", re.MULTILINE)
_GROUP = re.compile(r"^  - (\w+): ", re.MULTILINE)


def first_sentence(command: str) -> str:
    """Return the first sentence of a command's page."""
    return _docstring(command).partition("\n\n")[0].replace("\n", " ")


def help_page(command: str) -> str:
    """Return what a command does, with examples, its keys with comments, and what there is to choose from."""
    config = (CONF / f"{command}.yaml").read_text(encoding="utf-8").partition("\nhydra:")[0]
    keys = _DEFAULTS_LIST.sub("", config.partition("\n")[2]).strip()  # the first line repeats the docstring
    parts = [_docstring(command), f"Keys and their defaults, any of which an argument KEY=VALUE changes:\n\n{keys}"]
    groups = {group: choices(group) for group in _GROUP.findall(config)}
    lines = [f"{group}={'|'.join(names)}" for group, names in groups.items() if len(names) > 1]
    if lines:
        parts.append("Choices, each of which sets the keys of its group:\n\n" + "\n".join(lines))
    parts.append(
        f"alignsam {command} --cfg job prints every key with its value; --hydra-help tells of Hydra's own options,\n"
        "such as -m for sweeps."
    )
    return "\n\n".join(parts).replace("python -m experiments.", "alignsam ")


def choices(group: str) -> list[str]:
    """Return the names that a configuration group can be set to."""
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


def _docstring(command: str) -> str:
    package = EXPERIMENTS / command
    source = package / "__main__.py" if package.is_dir() else package.with_suffix(".py")
    return ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
