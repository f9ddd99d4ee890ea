"""The embedded models: small enough to ship, built from the real ones' parts. See the cards beside this file.

The SAM's loader is here, the CLIP's in ``clip.py``.
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
from alignsam_gym.foundation.tiny.backbone import Backbone
from alignsam_gym.foundation.tiny.model import TinyImageEncoder, build_tiny_sam

WEIGHTS = Path(__file__).with_name("sam_tiny.safetensors")
Model = TypeVar("Model", bound=nn.Module)


def load_tiny_sam(weights: Path = WEIGHTS) -> Sam:
    """The embedded SAM with its trained weights, float32, on the CPU. Raises WeightsError."""
    return load_embedded(build_tiny_sam(), weights, "SAM")


def load_backbone() -> Backbone:
    """What both embedded models look through, the embedded SAM's, float32, on the CPU, frozen. Raises WeightsError."""
    return cast(TinyImageEncoder, load_tiny_sam().image_encoder).backbone.eval().requires_grad_(False)


def digest(model: nn.Module) -> str:
    """Tells a model's weights apart from others."""
    whole = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        whole.update(name.encode() + value.half().contiguous().numpy().tobytes())
    return whole.hexdigest()


def load_embedded(model: Model, weights: Path, name: str, shared: Mapping[str, Tensor] = MappingProxyType({})) -> Model:
    """`model` with the weights of a safetensors file, and `shared` ones that the file leaves out.

    `name` is what errors call the model. Raises WeightsError.
    """
    if not weights.exists():
        raise WeightsError(
            f"{weights} is missing; install the package again, or train it: "
            f"python -m experiments.pretrain_tiny model={name.lower()}."
        )
    try:
        model.load_state_dict({**shared, **load_file(weights)})
    except (RuntimeError, OSError, SafetensorError) as error:
        raise WeightsError(f"{weights} does not hold the embedded {name}'s weights: {error}") from error
    return model
