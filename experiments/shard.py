"""A command's share of the images, where several processes divide them among themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
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

    @classmethod
    def parsed(cls, text: str) -> Self:
        """Read ``index/count``.

        Raises:
            OptionError: It is something else, or there is no such shard.
        """
        index, _, count = text.partition("/")
        if not (index.isdecimal() and count.isdecimal()):
            raise OptionError(f"--shard {text}: write 0/8 for the first of eight.")
        return cls.checked(int(index), int(count))

    def part(self, items: Sequence[T]) -> Sequence[T]:
        """Return this shard's part of the items, the same in every process; none where shards are more than items."""
        return items[len(items) * self.index // self.count : len(items) * (self.index + 1) // self.count]

    def whole_batches(self, items: Sequence[T], size: int) -> list[T]:
        """Return this shard's part, cut where a single process ends a batch.

        The last bits of a result may depend on what it was computed together with.

        Args:
            items: Of all shards.
            size: Of a batch.

        Raises:
            OptionError: There are more shards than batches.
        """
        batches = [items[start : start + size] for start in range(0, len(items), size)]
        if self.count > max(1, len(batches)):
            raise OptionError(
                f"{self.count} shards: {len(items)} images are {len(batches)} batches of {size}, and no shard has less "
                "than one; take fewer shards, or smaller batches."
            )
        return list(chain.from_iterable(self.part(batches)))


WHOLE = Shard(0, 1)
"""All of it."""
