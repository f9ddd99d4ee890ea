"""Reading the tensors of files of weights, as publishers and training scripts save them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from alignsam_gym.errors import WeightsError, first_line

_WRAPPERS = ("model", "state_dict", "model_state_dict")
"""Under which names training scripts put the model's state dict, beside the optimizer's, the epoch and the like."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the state dict of a model, also out of what a training script saved with it.

    Args:
        path: A ``.safetensors`` file, or one that ``torch.save`` wrote. A file that holds anything besides tensors and
            plain values is refused, because reading it could run code.

    Returns:
        The tensors by their names, on the CPU.

    Raises:
        WeightsError: The file is torn or refused, or holds no state dict, or NaN or infinite weights.
    """
    tensors = _state_dict_of(_load(path))
    if tensors is None:
        raise WeightsError(f"{path} does not hold a state dict, a mapping of names to tensors.")
    check_finite(path, tensors)
    return tensors


def without_common_prefix(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leave out what all names begin with, up to a dot, such as the ``module.`` of distributed training."""
    parts = (name.split(".") for name in tensors)
    shared = takewhile(lambda alike: len(set(alike)) == 1, zip(*parts, strict=False))
    prefix = "".join(f"{part}." for part, *_ in shared)
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}


def check_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Check that weights are numbers.

    Args:
        path: Where they come from, for the message.
        tensors: The weights by their names.

    Raises:
        WeightsError: One is NaN or infinite.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and tensor.numel() and not torch.linalg.vector_norm(tensor, torch.inf).isfinite():
            raise WeightsError(
                f"{path} holds NaN or infinite weights, in {name}: its training failed, or it is damaged. Take an "
                "earlier checkpoint, or fetch it again."
            )


def _load(path: Path) -> Any:
    try:
        return load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except UnpicklingError as error:
        raise WeightsError(
            f"{path} is refused: it is damaged, or holds other things than tensors, which could run code. Fetch it "
            "again; of a training's checkpoint, save the model's state dict alone."
        ) from error
    except Exception as error:  # a torn file can fail in any way
        raise WeightsError(f"{path} is torn, or no checkpoint at all ({first_line(error)}). Fetch it again.") from error


def _state_dict_of(content: Any) -> dict[str, Tensor] | None:
    """Find the state dict in what a file holds."""
    if not isinstance(content, dict):
        return None
    if all(isinstance(value, Tensor) for value in content.values()):
        return content
    inside = (content[name] for name in _WRAPPERS if isinstance(content.get(name), dict))
    return _state_dict_of(next(inside, None))
