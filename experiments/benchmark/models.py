"""What is timed: architectures whose weights do not matter, and scenes whose looks do not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from segment_anything.build_sam import sam_model_registry
from segment_anything.modeling import Sam
from torch import Tensor, nn

from alignsam_gym.data import Sample
from alignsam_gym.experiments.benchmark import Architecture
from alignsam_gym.foundation.devices import resolve_device
from alignsam_gym.foundation.sam.mobile_sam import build_mobile_sam
from alignsam_gym.foundation.sam.predictor import BatchedSamPredictor
from alignsam_gym.foundation.tiny import load_tiny_sam

BUILDERS: dict[str, Callable[[], Sam]] = {
    "tiny": load_tiny_sam,
    "vit_t": build_mobile_sam,
    **{name: sam_model_registry[name] for name in ("vit_b", "vit_l", "vit_h")},
}
"""By name, what makes a SAM: the embedded one, and architectures with random weights."""


@dataclass(frozen=True)
class Setting:
    """What every benchmark is told.

    Attributes:
        sam: The architecture.
        device: Where to compute, such as ``auto`` or ``cuda:0``.
        quick: Whether few rounds are enough, to see that it works.
        output: An existing folder for the benchmark's files.
    """

    sam: Architecture
    device: str
    quick: bool
    output: Path


def benchmark_model(
    name: Architecture, device: str, encoder: bool = True, decode_precision: str = "float32"
) -> BatchedSamPredictor:
    """Return a SAM to time; vit_b has random weights.

    Args:
        name: The architecture.
        device: Where to compute, such as ``auto`` or ``cuda:0``.
        encoder: False to put one convolution in the image encoder's place, where only decoding is timed.
        decode_precision: As for `BatchedSamPredictor`.
    """
    torch.manual_seed(0)
    sam = BUILDERS[name]()
    fingerprint = f"benchmark-{name}"
    if not encoder:
        cells, channels = sam.prompt_encoder.image_embedding_size[0], sam.prompt_encoder.embed_dim
        sam.image_encoder = _StandIn(sam.image_encoder.img_size, cells, channels)
        fingerprint += "-stand-in"
    return BatchedSamPredictor(sam, fingerprint, resolve_device(device), decode_precision=decode_precision)


class _StandIn(nn.Module):
    def __init__(self, size: int, cells: int, channels: int) -> None:
        super().__init__()
        self.img_size = size
        self.patches = nn.Conv2d(3, channels, size // cells, stride=size // cells)

    def forward(self, x: Tensor) -> Tensor:
        embedding: Tensor = self.patches(x)
        return embedding


class Scenes:
    """A data set of noisy discs, which are drawn when they are asked for.

    Args:
        count: Number of samples.
        side: Height and width of an image, in pixels.
    """

    name = "scenes"

    def __init__(self, count: int, side: int = 128) -> None:
        self.ids: Sequence[str] = [f"scene{i:05d}" for i in range(count)]
        self.side = side

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng(index)
        x, y = np.meshgrid(*[np.arange(self.side)] * 2)
        centre, radius = rng.uniform(0.3, 0.7, 2) * self.side, rng.uniform(0.1, 0.3) * self.side
        mask = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2
        image = rng.integers(0, 128, (self.side, self.side, 3)) + 100 * mask[..., None]
        return Sample(self.ids[index], image.astype(np.uint8), mask)
