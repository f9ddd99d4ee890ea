"""The help of the commands that Hydra configures, read from their source so that nothing heavy is imported."""

from __future__ import annotations

import inspect
import itertools
import re
from pathlib import Path

EXPERIMENTS = Path(__file__).parent
CONF = EXPERIMENTS.parent / "conf"

HELP_OPTIONS = {"-h", "--help"}

REGISTERED: dict[str, list[str]] = {
    "dataset": [
        *("shapes", "shapes-defocus", "shapes-shadow", "shapes-mirror", "shapes-named"),
        *("folder", "coco", "yolo", "labelme", "cvat", "CUHK", "SBU", "MSD", "DUTS", "VOC2012"),
    ],
    "sam": [
        *("tiny", "vit_b", "vit_l", "vit_h", "vit_t", "sam_hq_vit_b", "sam_hq_vit_l", "sam_hq_vit_h"),
        *("sam2.1_hiera_tiny", "sam2.1_hiera_small", "sam2.1_hiera_base_plus", "sam2.1_hiera_large"),
    ],
    "clip": ["tiny", "vit_b_16"],
}
"""What `hydra_schema` registers, which takes too long to import for a page of help. A test compares both."""

_DEFAULTS_LIST = re.compile(r"^defaults:\n(?:[ \t]+\S.*\n)*\n*", re.MULTILINE)
_GROUP = re.compile(r"^  - (\w+): ", re.MULTILINE)
_EXPERIMENT = re.compile(r"^  - experiment: (\w+)", re.MULTILINE)


def first_sentence(command: str) -> str:
    """Return the first sentence of a command's page."""
    return _docstring(command).partition("\n\n")[0].replace("\n", " ")


def help_page(command: str) -> str:
    """Return what a command does, with examples, its keys with comments, and what there is to choose from."""
    config = (CONF / f"{command}.yaml").read_text(encoding="utf-8").partition("\nhydra:")[0]
    parts = [
        _docstring(command),
        f"Keys and their defaults, any of which an argument KEY=VALUE changes:\n\n{_keys(config)}",
    ]
    for experiment in _EXPERIMENT.findall(config):
        values = _keys((CONF / "experiment" / f"{experiment}.yaml").read_text(encoding="utf-8"))
        parts.append(f"Values of experiment={experiment}, the default:\n\n{values}")
    groups = {group: choices(group) for group in _GROUP.findall(config)}
    lines = [f"{group}={'|'.join(names)}" for group, names in groups.items() if len(names) > 1]
    if "sam" in groups:
        lines.append("sam=hf:REPOSITORY|hf:FOLDER, of the Hugging Face Hub or as transformers saves it")
    if lines:
        parts.append("Choices, each of which sets the keys of its group:\n\n" + "\n".join(lines))
    parts.append(
        f"alignsam {command} --cfg job prints every key with its value; --hydra-help tells of Hydra's own options,\n"
        "such as -m for sweeps."
    )
    return "\n\n".join(parts).replace("python -m experiments.", "alignsam ")


def choices(group: str) -> list[str]:
    """Return the names that a configuration group can be set to."""
    return REGISTERED.get(group) or sorted(file.stem for file in (CONF / group).glob("*.yaml"))


def _keys(config: str) -> str:
    """The text of a configuration without what is above its keys: comments, and the list of defaults."""
    lines = config.splitlines(keepends=True)
    comments = itertools.takewhile(lambda line: line.startswith("#"), lines)
    return _DEFAULTS_LIST.sub("", "".join(lines[len(list(comments)) :])).strip()


def module_of(command: str) -> str:
    """Return the module of `experiments` that a command runs: ``train``, ``report.__main__``."""
    return f"{command}.__main__" if (EXPERIMENTS / command).is_dir() else command


def _docstring(command: str) -> str:
    source = EXPERIMENTS / f"{module_of(command).replace('.', '/')}.py"
    return inspect.cleandoc(source.read_text(encoding="utf-8").split('"""', 2)[1])
