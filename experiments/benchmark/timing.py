"""Two ways of doing the same, timed in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from alignsam_gym.foundation.devices import synchronize


def alternate(
    strategies: Mapping[str, Callable[[], object]], rounds: int, device: torch.device | None = None
) -> dict[str, list[float]]:
    """Time calls in turn, after one call of each that is not counted.

    Args:
        strategies: What to call, by name.
        rounds: How often each is called and timed.
        device: Where the calls compute. What they start on a GPU is waited for.

    Returns:
        The seconds of each call, by name.
    """
    seconds: dict[str, list[float]] = {name: [] for name in strategies}
    for number in range(rounds + 1):
        for name, call in strategies.items():
            started = time.perf_counter()
            call()
            if device is not None:
                synchronize(device)
            if number:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def statistics(seconds: Mapping[str, list[float]], count: int) -> dict[str, Any]:
    """Summarise the times of two ways of doing the same.

    Args:
        seconds: Seconds of every round by name, ours first.
        count: Number of things that a round does.

    Returns:
        By name, the ``median`` in milliseconds of one thing and its ``spread``, half the interquartile range; and the
        ``ratio``, the median over the rounds of the other's time over ours.
    """
    milliseconds = {name: 1e3 * np.array(times) / count for name, times in seconds.items()}
    ours, other = milliseconds.values()
    quartiles = {name: np.quantile(times, [0.25, 0.5, 0.75]) for name, times in milliseconds.items()}
    each = {name: {"median": float(q[1]), "spread": float(q[2] - q[0]) / 2} for name, q in quartiles.items()}
    return {**each, "ratio": float(np.median(other / ours))}
