"""How a command gets its configuration from Hydra, shows its help, and ends when its user made a mistake."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import hydra
from omegaconf import DictConfig

from alignsam_gym.experiments.argument_check import check_arguments
from alignsam_gym.experiments.command_help import HELP_OPTIONS, help_page
from alignsam_gym.experiments.command_line import exit_on_user_error
from alignsam_gym.experiments.command_output import prepare_output
from alignsam_gym.experiments.hydra_arguments import hydra_arguments
from alignsam_gym.experiments.hydra_schema import register

T = TypeVar("T")


def hydra_command(name: str) -> Callable[[Callable[[DictConfig], T]], Callable[..., Any]]:
    """Make a command of a function that takes a configuration.

    Args:
        name: The configuration's file in conf/, without ``.yaml``.

    Returns:
        A decorator. The command composes its configuration of the files in conf/, the schemas of `hydra_schema` and the
        arguments; or takes one that is passed. With ``--help`` it prints what ``alignsam <name> --help`` prints.
    """
    register()
    compose = hydra.main(version_base="1.3", config_path="pkg://alignsam_gym.conf", config_name=name)

    def decorate(main: Callable[[DictConfig], T]) -> Callable[..., Any]:
        @wraps(main)
        @exit_on_user_error
        def task(config: DictConfig) -> T:
            register()  # this and the next in a process that a launcher starts, too
            prepare_output()
            return main(config)

        run = compose(task)

        @wraps(main)
        def command(config: DictConfig | None = None) -> Any:
            prepare_output()
            if config is not None:
                return run(config)
            if HELP_OPTIONS & set(sys.argv[1:]):
                return print(help_page(name))
            os.environ["HYDRA_FULL_ERROR"] = "1"  # so that Hydra raises its errors, which are told as ours are
            with exit_on_user_error:
                check_arguments(name, sys.argv[1:])
                sys.argv[1:] = hydra_arguments(name, sys.argv[1:])
                return run(None)

        return command

    return decorate
