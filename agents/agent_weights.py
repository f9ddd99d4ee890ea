"""Saving and loading the finished agent, without pickle."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from stable_baselines3.common.policies import BasePolicy

from alignsam_gym.atomic_write import write_atomically
from alignsam_gym.errors import WeightsError
from alignsam_gym.srm import SRM

POLICY, SRM_WEIGHTS = "policy.safetensors", "srm.safetensors"


def save_agent(folder: Path, policy: BasePolicy, srm: SRM) -> None:
    """Write policy and SRM into `folder`, for `load_agent`. Raises WeightsError."""
    try:
        with TemporaryDirectory() as place:  # safetensors' files are for this user's eyes only
            file = Path(place) / POLICY
            save_model(policy, str(file))  # which knows that SB3's three names of the extractor are one
            write_atomically(folder / POLICY, file.read_bytes())
        srm.save(folder / SRM_WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"The agent cannot be written into {folder} ({error}); is the disk full?") from error


def load_agent(folder: Path, policy: BasePolicy, srm: SRM) -> None:
    """Read what `save_agent` wrote into a policy and an SRM of the same shape. Raises WeightsError."""
    try:
        load_model(policy, folder / POLICY)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise WeightsError(
            f"{folder / POLICY} does not hold this agent ({error}); has its training finished?"
        ) from error
    srm.load_weights(folder / SRM_WEIGHTS)
