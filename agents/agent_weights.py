"""Saving and loading the weights of a trained agent, its policy and its SRM, as safetensors."""

from __future__ import annotations

import shlex
from pathlib import Path
from tempfile import TemporaryDirectory

from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from stable_baselines3.common.policies import BasePolicy

from alignsam_gym.atomic_write import write_atomically
from alignsam_gym.errors import WeightsError
from alignsam_gym.srm import SRM
from alignsam_gym.weight_files import check_finite

POLICY, SRM_WEIGHTS = "policy.safetensors", "srm.safetensors"


def how_to_go_on(folder: Path) -> str:
    """Say how a training that was interrupted in a folder goes on."""
    return f"go on with it: alignsam train {shlex.quote(f'resume={folder}')}"


def save_agent(folder: Path, policy: BasePolicy, srm: SRM) -> None:
    """Write the weights of a policy and of its SRM into a folder.

    Raises:
        WeightsError: They cannot be written.
    """
    try:
        with TemporaryDirectory() as temporary:  # save_model makes files that only this user may read
            file = Path(temporary) / POLICY
            save_model(policy, str(file))  # SB3 holds one extractor under three names; save_model writes it once
            write_atomically(folder / POLICY, file.read_bytes())
        srm.save(folder / SRM_WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"The agent cannot be written into {folder} ({error}); is the disk full?") from error


def load_agent(folder: Path, policy: BasePolicy, srm: SRM) -> None:
    """Load what `save_agent` wrote into a policy and an SRM of the same shapes.

    Raises:
        WeightsError: The files are missing or damaged, or hold another agent, or NaN or infinite weights.
    """
    try:
        load_model(policy, folder / POLICY)
    except (OSError, SafetensorError, RuntimeError) as error:
        hint = "" if (folder / POLICY).exists() else f" If not, {how_to_go_on(folder)}."
        raise WeightsError(
            f"{folder / POLICY} does not hold this agent ({error}); has its training finished?{hint}"
        ) from error
    check_finite(folder / POLICY, dict(policy.named_parameters()))
    srm.load_weights(folder / SRM_WEIGHTS)
