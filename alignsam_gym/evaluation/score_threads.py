"""Scoring several images at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

_MOST_THREADS = 8
"""Measuring takes up to 90 bytes a pixel in each thread, so this bounds the memory."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result, None, None]:
    """Apply a function to items in as many threads as PyTorch has, at most 8, as `map` does in one.

    Threads are enough: reading images and measuring masks is the work of OpenCV, NumPy and SciPy, which let other
    threads run meanwhile. Processes would have to import them all first, which takes longer than hundreds of masks.

    Args:
        function: Is called in other threads.
        items: Are taken when there is room: at most two a thread are under way, or done and not yet asked for.

    Yields:
        The results, in the order of the items. What the function raises is raised where its result would be.
    """
    threads = min(torch.get_num_threads(), _MOST_THREADS)
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) == 2 * threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
