"""Keeps on disk what a frozen network computes of images that a training meets again and again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from alignsam_gym.atomic_write import write_atomically


class FeatureCache:
    """A frozen network and what it has computed, float16, one file for each view of an image.

    Views are told apart by their numbers alone: other images or another network need another folder.
    """

    def __init__(self, folder: Path, network: Callable[[Tensor], Sequence[Tensor]]) -> None:
        self.folder, self.network = folder, network
        folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, views: Tensor, pixels: Tensor) -> list[Tensor]:
        """Return the network's outputs for B views, float32 (B, ...) each.

        views: int64 (B,). pixels: float (B, 3, H, W), of these views.
        """
        files = [self.folder / f"{view}.safetensors" for view in views.tolist()]
        if missing := [row for row, file in enumerate(files) if not file.exists()]:
            self._make([files[row] for row in missing], pixels[missing])
        kept = [load_file(file) for file in files]
        return [torch.stack([each[part].float() for each in kept]) for part in sorted(kept[0])]

    @torch.no_grad()
    def _make(self, files: list[Path], pixels: Tensor) -> None:
        outputs = self.network(pixels.contiguous(memory_format=torch.channels_last))
        for row, file in enumerate(files):
            write_atomically(file, save({str(k): each[row].half().contiguous() for k, each in enumerate(outputs)}))
