"""Models to time: architectures whose weights do not matter."""

from __future__ import annotations

import torch
from segment_anything import sam_model_registry

from alignsam_gym.foundation.sam import PromptableModel, resolve_device
from alignsam_gym.foundation.tiny import load_tiny_sam

ARCHITECTURES = ("vit_b", "tiny")


def benchmark_model(name: str, device: str) -> PromptableModel:
    """One of `ARCHITECTURES`; vit_b with random weights."""
    torch.manual_seed(0)
    sam = load_tiny_sam() if name == "tiny" else sam_model_registry[name]()
    return PromptableModel(sam, f"benchmark-{name}", resolve_device(device))
