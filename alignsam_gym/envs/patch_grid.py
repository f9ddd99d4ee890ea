"""The grid of patches that actions choose from (§3.2, Eq. 3)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from alignsam_gym.errors import OptionError, check_count
from alignsam_gym.transforms import frame_to_unit


@dataclass(frozen=True)
class PatchGrid:
    """A square frame divided into square patches, numbered row by row.

    Action r · side + c prompts at ((c + ½) · patch_size, (r + ½) · patch_size), as (x, y) in the frame.

    Attributes:
        image_size: Side of the frame in pixels (800 in §4.1).
        patch_size: Side of a patch in pixels (80 in §4.1).

    Raises:
        OptionError: A size is no whole number from 1, or patches do not fill the frame.
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
        """N, the number of patches."""
        return self.side**2

    @cached_property
    def centres(self) -> Tensor:
        """float32 (N, 2): (x, y) of every patch's centre, in pixels of the frame."""
        along_axis = (torch.arange(self.side, dtype=torch.float32) + 0.5) * self.patch_size
        y, x = torch.meshgrid(along_axis, along_axis, indexing="ij")
        return torch.stack([x.flatten(), y.flatten()], dim=1)

    def truth(self, mask: np.ndarray) -> np.ndarray:
        """Tell whether each patch's centre is foreground: bool (N,), from a mask, bool (H, W), of any size."""
        height, width = mask.shape
        x_frame, y_frame = self.centres.numpy().T
        rows = (y_frame * height // self.image_size).astype(int)
        columns = (x_frame * width // self.image_size).astype(int)
        return np.asarray(mask[rows, columns])

    def sample(self, maps: Tensor, points_frame: Tensor) -> Tensor:
        """Interpolate maps bilinearly, each at its own points.

        Args:
            maps: float (B, h, w), each spanning the frame.
            points_frame: float (B, ..., 2), (x, y) in pixels of the frame.

        Returns:
            float (B, ...).
        """
        at = (frame_to_unit(points_frame, self.image_size) * 2 - 1).view(points_frame.shape[0], 1, -1, 2)
        values = F.grid_sample(maps[:, None], at, padding_mode="border", align_corners=False)
        return values.view(points_frame.shape[:-1])

    def pool(self, maps: Tensor) -> Tensor:
        """Average maps over each patch. A cell that two patches share counts for each by the part that lies there.

        Args:
            maps: float (..., h, w), each spanning the frame.

        Returns:
            float (..., side, side).
        """
        height, width = maps.shape[-2:]
        columns: Tensor = maps @ _averages(self.side, width, maps.dtype, maps.device).T
        return _averages(self.side, height, maps.dtype, maps.device) @ columns

    def pool_product(self, maps: Tensor, factor: Tensor) -> Tensor:
        """Return ``pool(maps * factor[:, None])``, faster where channels come last in memory.

        Args:
            maps: float (B, C, h, w).
            factor: float (B, h, w).

        Returns:
            float (B, C, side, side).
        """
        height, width = factor.shape[1:]
        rows = _averages(self.side, height, maps.dtype, maps.device)
        columns = _averages(self.side, width, maps.dtype, maps.device)
        product = maps.permute(0, 2, 3, 1) * factor[..., None]
        by_row = rows @ product.flatten(2)
        means = columns @ by_row.reshape(*by_row.shape[:2], width, -1)
        return means.permute(0, 3, 1, 2)


@cache
def _averages(side: int, cells: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(side, cells): the fraction of each patch's side that lies in each cell, of an axis divided into `cells`."""
    patches, pixels = torch.arange(side)[:, None] * cells, torch.arange(cells) * side
    overlap = torch.minimum(patches + cells, pixels + side) - torch.maximum(patches, pixels)
    return (overlap.clamp(min=0) / cells).to(device, dtype)
