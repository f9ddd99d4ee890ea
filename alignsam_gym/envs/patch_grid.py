"""Patches and points: the action space of §3.2 (Eq. 3)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from alignsam_gym.errors import OptionError, check_count


@dataclass(frozen=True)
class PatchGrid:
    """A square frame divided into square patches, numbered row by row.

    image_size: side of the frame in pixels (800 in §4.1). patch_size: side of a patch (80).
    Action r · side + c prompts at ((c + ½) · patch_size, (r + ½) · patch_size), as (x, y) in the frame.
    """

    image_size: int
    patch_size: int

    def __post_init__(self) -> None:
        for name in ("image_size", "patch_size"):
            check_count(name, getattr(self, name), "there must be at least one pixel")
        if self.image_size % self.patch_size or self.patch_size > self.image_size:
            raise OptionError(
                f"patch_size={self.patch_size} does not divide image_size={self.image_size} into whole patches."
            )

    @property
    def side(self) -> int:
        """Patches along one side."""
        return self.image_size // self.patch_size

    @property
    def count(self) -> int:
        """N, the number of actions."""
        return self.side**2

    @cached_property
    def centres(self) -> Tensor:
        """float32 (N, 2): (x, y) of every patch's centre, in pixels of the frame."""
        at = (torch.arange(self.side, dtype=torch.float32) + 0.5) * self.patch_size
        y, x = torch.meshgrid(at, at, indexing="ij")
        return torch.stack([x.flatten(), y.flatten()], dim=1)

    def truth(self, mask: np.ndarray) -> np.ndarray:
        """Whether each patch's centre is foreground: bool (N,) from a mask (H, W) of any size."""
        height, width = mask.shape
        x, y = self.centres.numpy().T
        return mask[(y * height // self.image_size).astype(int), (x * width // self.image_size).astype(int)]

    def sample(self, maps: Tensor, points: Tensor) -> Tensor:
        """Bilinear values (B, …) of maps (B, h, w) that span the frame, at their own points (B, …, 2)."""
        at = (points / self.image_size * 2 - 1).view(points.shape[0], 1, -1, 2)
        values = F.grid_sample(maps[:, None], at, padding_mode="border", align_corners=False)
        return values.view(points.shape[:-1])

    def pool(self, maps: Tensor) -> Tensor:
        """Mean over each patch of maps float (..., h, w) that span the frame: (..., side, side).

        A cell that two patches share counts for each by the share of it that lies there.
        """
        height, width = maps.shape[-2:]
        return self._averages(height, maps) @ (maps @ self._averages(width, maps).T)

    def pool_product(self, maps: Tensor, factor: Tensor) -> Tensor:
        """``pool(maps * factor[:, None])`` of (B, C, h, w) and (B, h, w), fast where channels come last in memory."""
        height, width = factor.shape[1:]
        rows, columns = self._averages(height, maps), self._averages(width, maps)
        product = maps.permute(0, 2, 3, 1) * factor[..., None]
        means = columns @ (rows @ product.flatten(2)).unflatten(2, (width, -1))
        return means.permute(0, 3, 1, 2)

    def _averages(self, cells: int, like: Tensor) -> Tensor:
        return _averages(self.side, cells, like.dtype, like.device)


@cache
def _averages(side: int, cells: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(side, cells): how much of each patch's side is in each cell, of an axis divided into `cells`."""
    patches, pixels = torch.arange(side)[:, None] * cells, torch.arange(cells) * side
    overlap = torch.minimum(patches + cells, pixels + side) - torch.maximum(patches, pixels)
    return (overlap.clamp(min=0) / cells).to(device, dtype)
