"""Which device everything runs on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from alignsam_gym.errors import OptionError, first_line

_TOLERANCE = 0.01  # of logits, most of which are between 1 and 10; another order of sums changes them by 1e-4
log = logging.getLogger(__name__)


def resolve_device(device: str | torch.device) -> torch.device:
    """Resolve a device's name.

    Args:
        device: ``auto`` takes CUDA if it is available; else Apple's MPS if it is available and `answers_as_cpu`; else
            the CPU.

    Returns:
        The device, with its index if it is a GPU.

    Raises:
        OptionError: The device cannot be used on this machine.
    """
    if device == "auto":
        device = _best_device()
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise OptionError(f"device={str(device)!r} cannot be used here ({first_line(error)}).") from error


def synchronize(device: torch.device) -> None:
    """Wait until a device has done all that it was given, so that its time can be measured."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def to_host(tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Return tensors as arrays of the same shapes and dtypes; all copies from a GPU are waited for together.

    Args:
        tensors: On one device. An array of one on the CPU shares its memory.
    """
    device = next(iter(tensors.values())).device
    together = device.type in ("cuda", "mps")
    copies = {name: tensor.to("cpu", non_blocking=together) for name, tensor in tensors.items()}
    synchronize(device)
    return {name: copy.numpy() for name, copy in copies.items()}


@cache
def answers_as_cpu(device: torch.device) -> bool:
    """Tell whether a device encodes, decodes and learns as the CPU does, up to rounding; if not, the log says why.

    PyTorch's MPS lacks some operations and has had wrong ones, which differ by its version and by macOS's.
    """
    try:
        pairs = zip(_small_step(device), _small_step(torch.device("cpu")), strict=True)
        wrong = float(torch.cat([(answer - cpus).flatten() for answer, cpus in pairs]).abs().max())
        problem = "" if wrong <= _TOLERANCE else f"a logit differs from the CPU's by {wrong:.3g}"
    except (RuntimeError, TypeError) as error:  # an operation or a dtype is missing; NotImplementedError is the first
        problem = first_line(error)
    if problem:
        log.warning("device=auto leaves %s out, as it fails its check (%s).", device, problem)
    return not problem


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() and answers_as_cpu(torch.device("mps")) else "cpu"


def _small_step(device: torch.device) -> list[Tensor]:
    """Do what a step of an episode does, with the embedded SAM: logits of SAM and of the SRM, on the CPU."""
    from alignsam_gym.foundation.sam.predictor import BatchedSamPredictor  # which needs this module
    from alignsam_gym.foundation.tiny import load_tiny_sam
    from alignsam_gym.srm import SRM, SRMConfig
    from alignsam_gym.state import make_state
    from alignsam_gym.transforms import resize_map

    with torch.random.fork_rng(devices=[]):  # what is drawn later is as without this check
        model = BatchedSamPredictor(load_tiny_sam(), "check", device)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (64, 64, 3), dtype=torch.uint8, generator=generator)
    encodings = model.encode([pixels.numpy()])
    points, labels = torch.tensor([[[0.3, 0.4], [0.8, 0.7]]], device=device), torch.tensor([[1, 0]], device=device)
    logits = model.decode(model.prepare_image(encodings), torch.zeros(1, dtype=torch.int64), points, labels)
    cells = model.embedding_shape[1:]
    mask = resize_map(logits.sigmoid(), cells)
    state = make_state("product", encodings, mask, mask)
    srm = SRM("implicit", encodings.shape[1], SRMConfig.of({"width": 8}, "paper"), device, seed=0)
    srm.learn(state, (mask > 0.5).float(), torch.ones_like(mask))
    srm_logits = srm.logits(state)
    at_points = F.grid_sample(srm_logits[:, None], points[:, None] * 2 - 1, padding_mode="border", align_corners=False)
    return [logits.cpu(), srm_logits.cpu(), at_points.cpu()]
