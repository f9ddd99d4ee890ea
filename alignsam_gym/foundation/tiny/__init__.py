"""The embedded SAM: small enough to ship, built from SAM's own parts. See ``MODEL_CARD.md`` beside this file."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from segment_anything.modeling import Sam

from alignsam_gym.errors import WeightsError
from alignsam_gym.foundation.tiny.model import build_tiny_sam

WEIGHTS = Path(__file__).with_name("sam_tiny.safetensors")


def load_tiny_sam(weights: Path = WEIGHTS) -> Sam:
    """The embedded SAM with its trained weights, float32, on the CPU. Raises WeightsError."""
    sam = build_tiny_sam()
    if not weights.exists():
        raise WeightsError(
            f"{weights} is missing; install the package again, or train it: python -m experiments.pretrain_tiny."
        )
    try:
        sam.load_state_dict(load_file(weights))
    except (RuntimeError, OSError, SafetensorError) as error:
        raise WeightsError(f"{weights} does not hold the embedded SAM's weights: {error}") from error
    return sam
