"""Some rows of a batch, for tensors on the CPU and on a device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Rows(NamedTuple):
    """Some rows of a batch.

    Attributes:
        here: int64 (n,), on the CPU.
        there: The same as an index of tensors on the device, from `index_on`.
    """

    here: Tensor
    there: Tensor | slice

    @classmethod
    def of(cls, rows: Sequence[int] | Tensor, device: torch.device) -> Rows:
        """Return some rows of tensors on a device."""
        here = torch.as_tensor(rows, dtype=torch.int64)
        return cls(here, index_on(device, here))


def index_on(device: torch.device, rows: Tensor) -> Tensor | slice:
    """Return an index of rows, of tensors on a device.

    Args:
        device: The tensors'.
        rows: int64 (n,), on the CPU.

    Returns:
        A slice if the rows are consecutive, because a slice copies nothing. Else the rows on the device; the CPU does
        not wait for their copy.
    """
    first = int(rows[0]) if len(rows) else 0
    if torch.equal(rows, torch.arange(first, first + len(rows))):
        return slice(first, first + len(rows))
    return rows.to(device, non_blocking=True)
