"""The embedded SAM and CLIP: small enough to ship, built from the parts of the real ones.

The cards beside this file say how they were trained. The SAM's loader is here; the CLIP's is in `tiny_clip`, because
that imports ``open_clip``, which takes seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file
from segment_anything.modeling import Sam
from torch import Tensor, nn

from alignsam_gym.errors import WeightsError
from alignsam_gym.foundation.tiny.tiny_sam import build_tiny_sam

WEIGHTS = Path(__file__).with_name("sam_tiny.safetensors")
Model = TypeVar("Model", bound=nn.Module)


def load_tiny_sam(weights: Path = WEIGHTS) -> Sam:
    """Load the embedded SAM with its trained weights, float32, on the CPU.

    Args:
        weights: A safetensors file of `build_tiny_sam`'s tensors.

    Raises:
        WeightsError: The file is missing or holds something else.
    """
    return load_embedded(build_tiny_sam(), weights, "SAM")


def load_embedded(model: Model, weights: Path, name: str, shared: Mapping[str, Tensor] = MappingProxyType({})) -> Model:
    """Load the weights of an embedded model and return the model.

    Args:
        model: Where the weights go.
        weights: A safetensors file.
        name: What error messages call the model.
        shared: Tensors of the model that the file leaves out, by name.

    Raises:
        WeightsError: The file is missing or holds something else.
    """
    if not weights.exists():
        raise WeightsError(
            f"{weights} is missing; install the package again, or train it: "
            f"python -m experiments.pretrain model={name.lower()}."
        )
    try:
        model.load_state_dict({**shared, **load_file(weights)})
    except (RuntimeError, OSError, SafetensorError) as error:
        raise WeightsError(f"{weights} does not hold the embedded {name}'s weights: {error}") from error
    return model
