"""A command's share of the images, where several processes divide them among themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

from alignsam_gym.errors import OptionError, check_count

T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """One of several parts of a list, which are alike in length to within one item.

    Parts are consecutive, so that what the shards made stands in the list's order if put one after the other.

    Attributes:
        index: From 0.
        count: How many there are.
    """

    index: int
    count: int

    @classmethod
    def checked(cls, index: int, count: int) -> Self:
        """Make a shard of the keys ``shard`` and ``num_shards``.

        Raises:
            OptionError: There is no such shard.
        """
        check_count("num_shards", count, "the images are dealt to at least one command")
        if check_count("shard", index, "shards are numbered from 0", least=0) >= count:
            raise OptionError(f"shard={index}: shards are numbered from 0 to num_shards − 1 = {count - 1}.")
        return cls(index, count)

    @property
    def name(self) -> str:
        """What its files are called."""
        return f"{self.index}-of-{self.count}"

    def part(self, items: Sequence[T]) -> Sequence[T]:
        """Return this shard's part of the items, the same in every process; none where shards are more than items."""
        return items[len(items) * self.index // self.count : len(items) * (self.index + 1) // self.count]


WHOLE = Shard(0, 1)
"""All of it."""
