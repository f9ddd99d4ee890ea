"""Maps at another resolution."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def on_cells(maps: Tensor, cells: tuple[int, ...]) -> Tensor:
    """Maps float (B, H, W) on a grid of `cells` (h, w): means over cells, or between two where there are more."""
    if maps.shape[1:] == cells:
        return maps
    mode = "area" if cells[0] < maps.shape[1] else "bilinear"
    return F.interpolate(maps[:, None], cells, mode=mode)[:, 0]
