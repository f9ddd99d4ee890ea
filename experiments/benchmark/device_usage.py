"""What a part of a benchmark takes of a device: time, memory, and how busy it is."""

from __future__ import annotations

import csv
import gc
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import mean
from tempfile import TemporaryFile
from typing import Any

import torch

from alignsam_gym.foundation.devices import synchronize

_MILLISECONDS = 250  # between two samples of nvidia-smi, which itself averages over a sixth of a second or more


@contextmanager
def device_usage(device: torch.device) -> Iterator[dict[str, Any]]:
    """Measure what a block takes.

    Args:
        device: Where the block computes.

    Yields:
        A dictionary that is filled when the block has ended. It has ``seconds`` and ``peak_host_mib``, the most memory
        of this process since its start. On a card of CUDA it has ``peak_allocated_mib``, what PyTorch held there for
        this process, and ``peak_used_mib`` and ``utilisation_percent``, the card's memory and the mean share of time in
        which it computed, whichever process they were for; both are None without ``nvidia-smi``. It stays empty if the
        block fails.
    """
    usage: dict[str, Any] = {}
    cuda = device.type == "cuda"
    if cuda:
        gc.collect()
        torch.cuda.empty_cache()  # what earlier blocks have left would count as used
        torch.cuda.reset_peak_memory_stats(device)
    started = time.perf_counter()
    with _sampled_card(device) as card:
        yield usage
        synchronize(device)
        usage["seconds"] = round(time.perf_counter() - started, 2)
    usage["peak_host_mib"] = peak_host_bytes() >> 20
    if cuda:
        usage["peak_allocated_mib"] = torch.cuda.max_memory_allocated(device) >> 20
        usage.update(card)


def peak_host_bytes() -> int:
    """Return the most memory that this process has had since its start."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@contextmanager
def _sampled_card(device: torch.device) -> Iterator[dict[str, float | None]]:
    """Let ``nvidia-smi`` watch a card meanwhile, and fill the dictionary at the end."""
    card: dict[str, float | None] = {"peak_used_mib": None, "utilisation_percent": None}
    if device.type != "cuda":
        yield card
        return
    command = [
        "nvidia-smi",
        f"--id=GPU-{torch.cuda.get_device_properties(device).uuid}",
        "--query-gpu=memory.used,utilization.gpu",
        "--format=csv,noheader,nounits",
        f"--loop-ms={_MILLISECONDS}",
    ]
    with TemporaryFile("w+") as samples:
        try:
            watcher = subprocess.Popen(command, stdout=samples, stderr=subprocess.DEVNULL)
        except FileNotFoundError:
            yield card
            return
        try:
            yield card
        finally:
            watcher.terminate()
            watcher.wait()
            samples.seek(0)
            card.update(read_samples(samples))


def read_samples(lines: Iterator[str]) -> dict[str, float]:
    """Return ``peak_used_mib`` and ``utilisation_percent`` of lines such as ``1024, 87``, or nothing without any."""
    rows = [[cell.strip() for cell in row] for row in csv.reader(lines)]
    samples = [(float(row[0]), float(row[1])) for row in rows if len(row) == 2 and all(c.isdecimal() for c in row)]
    if not samples:
        return {}
    used, busy = zip(*samples, strict=True)
    return {"peak_used_mib": max(used), "utilisation_percent": round(mean(busy), 1)}
