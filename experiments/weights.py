"""Lists, downloads, verifies or removes official SAM checkpoints.

python -m experiments.weights
python -m experiments.weights action=download names=vit_b
python -m experiments.weights action=verify
python -m experiments.weights action=remove names=[vit_b,vit_t]

A SAM of the Hugging Face Hub needs none of this: sam=hf:facebook/sam-vit-base.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, ListConfig
from rich.console import Console
from rich.table import Column, Table

from alignsam_gym.errors import OptionError, WeightsError, check_choice
from alignsam_gym.experiments.hydra_command import hydra_command
from alignsam_gym.foundation.sam.checkpoint_download import download_checkpoint
from alignsam_gym.foundation.sam.official_checkpoints import (
    CHECKPOINTS,
    Checkpoint,
    explain_read_errors,
    remembered_digest,
    remove_checkpoint,
    verify_checkpoint,
    weights_dir,
)

log = logging.getLogger(__name__)


@hydra_command("weights")
def main(config: DictConfig) -> None:
    """List, download, verify or remove the checkpoints in ``names``; ``action`` says which."""
    action = check_choice("action", config.action, ("list", "download", "verify", "remove"))
    named = _named(config.names)
    if action in ("download", "remove") and not named:
        raise OptionError(f"action={action} needs names, one or more of {', '.join(CHECKPOINTS)}.")
    match action:
        case "list":
            with explain_read_errors(weights_dir()):
                Console().print(_table(named or list(CHECKPOINTS.values())))
            print(f"They belong in {weights_dir()}")
        case "download":
            _download(named)
        case "verify":
            with explain_read_errors(weights_dir()):
                here = [checkpoint for checkpoint in CHECKPOINTS.values() if checkpoint.path.exists()]
            if not named and not here:
                log.info("There is no checkpoint in %s.", weights_dir())
            _verify(named or here)
        case "remove":
            for checkpoint in named:
                remove_checkpoint(checkpoint)
                log.info("%s is no longer at %s", checkpoint.name, checkpoint.path)


def _named(names: Any) -> list[Checkpoint]:
    listed = names if isinstance(names, ListConfig) else [] if names is None else [names]
    return [CHECKPOINTS[check_choice("names", name, tuple(CHECKPOINTS))] for name in listed]


def _download(checkpoints: Sequence[Checkpoint]) -> None:
    for checkpoint in checkpoints:
        try:
            log.info("%s is at %s", checkpoint.name, download_checkpoint(checkpoint))
        except KeyboardInterrupt:
            log.info("Interrupted; the same command goes on from here.")
            sys.exit(130)


def _verify(checkpoints: Sequence[Checkpoint]) -> None:
    """Hash every file anew, and report on all of them before failing."""
    problems = []
    for checkpoint in checkpoints:
        try:
            verify_checkpoint(checkpoint)
            log.info("%s is intact at %s", checkpoint.name, checkpoint.path)
        except WeightsError as error:
            problems.append(str(error))
    if problems:
        raise WeightsError("\n".join(problems))


def _table(checkpoints: Sequence[Checkpoint]) -> Table:
    table = Table(*(Column(title, no_wrap=True) for title in ("name", "file", "size", "state")))
    for checkpoint in checkpoints:
        size = f"{checkpoint.size / 1e6:,.0f} MB" if checkpoint.size else ""
        table.add_row(checkpoint.name, checkpoint.file, size, _state(checkpoint))
    return table


def _state(checkpoint: Checkpoint) -> str:
    if checkpoint.path.exists():
        return "intact" if remembered_digest(checkpoint.path) == checkpoint.sha256 else "[red]not the official file[/]"
    return "unfinished" if checkpoint.partial_path.exists() else "missing"


if __name__ == "__main__":
    main()
