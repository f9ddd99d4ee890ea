"""The embedded SAM and CLIP: small enough to ship, built from the parts of the real ones.

The cards beside this file say how they were trained.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar, cast

from safetensors import SafetensorError
from safetensors.torch import load_file
from segment_anything.modeling import Sam
from torch import Tensor, nn

from alignsam_gym.errors import WeightsError
from alignsam_gym.foundation.tiny.tiny_backbone import Backbone
from alignsam_gym.foundation.tiny.tiny_sam import TinyImageEncoder, build_tiny_sam

WEIGHTS = Path(__file__).with_name("sam_tiny.safetensors")
CLIP_WEIGHTS = Path(__file__).with_name("clip_tiny.safetensors")
Model = TypeVar("Model", bound=nn.Module)


def load_tiny_sam(weights: Path = WEIGHTS) -> Sam:
    """Load the embedded SAM with its trained weights, float32, on the CPU.

    Args:
        weights: A safetensors file of `build_tiny_sam`'s tensors.

    Raises:
        WeightsError: The file is missing or holds something else.
    """
    return load_embedded(build_tiny_sam(), weights, "SAM")


def load_backbone() -> Backbone:
    """Load the backbone of both embedded models from the embedded SAM: float32, on the CPU, frozen.

    Raises:
        WeightsError: As for `load_tiny_sam`.
    """
    return cast(TinyImageEncoder, load_tiny_sam().image_encoder).backbone.eval().requires_grad_(False)


def weights_digest(model: nn.Module) -> str:
    """Return the SHA-256 of a model's tensors, as float16, and their names: it tells weights apart from others."""
    whole = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        half = value.cpu().half() + 0  # −0 becomes 0, as in a running average of equal weights
        whole.update(name.encode() + half.contiguous().numpy().tobytes())
    return whole.hexdigest()


def half_precision(model: nn.Module) -> dict[str, Tensor]:
    """Return a model's tensors as the embedded weights are stored: float16, and what is no float as it is."""
    return {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in model.state_dict().items()
    }


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
