"""How many prompt sets to decode at once: measured on the device in use, and remembered."""

from __future__ import annotations

import json
import logging
import platform
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from alignsam_gym.atomic_write import write_atomically
from alignsam_gym.foundation.sam.predictor import BatchedSamPredictor

_SIZES = (1, 2, 4, 8, 16, 32, 64)
_REPEATS = 3
_WORSE = 1.25  # larger sizes are not tried once a decode takes so many times the best one's time
_POINTS = 9  # half-way through an episode of 15 steps
log = logging.getLogger(__name__)


def calibrate(model: BatchedSamPredictor, directory: Path) -> None:
    """Set `model.decode_batch` to the fastest size, from ``calibration.json`` in `directory` if it is there.

    Otherwise sizes from 1 to 64 are tried, until they get slower, for a second or two. A decode's last bits
    depend on the size, so a run is repeated bit by bit only at the same one.
    """
    path, key = directory / "calibration.json", _key(model)
    known = _read(path)
    if not isinstance(size := known.get(key), int) or size < 1:
        size = fastest_batch(model)
        try:
            write_atomically(path, json.dumps(_read(path) | {key: size}, indent=2).encode())
        except OSError as error:
            log.warning("The calibration cannot be kept in %s (%s); it is repeated each time.", path, error)
    model.decode_batch = size


def fastest_batch(model: BatchedSamPredictor) -> int:
    """The size of batch at which a decode of random prompts takes least, by the fastest of three trials."""
    best_size, best = 1, float("inf")
    generator = torch.Generator().manual_seed(0)
    for size in _SIZES:
        encodings = torch.randn(size, *model.encoding_shape, generator=generator).to(model.device)
        points = torch.rand(size, _POINTS, 2, generator=generator).to(model.device)
        labels = torch.randint(0, 2, (size, _POINTS), generator=generator).to(model.device)
        model.decode_batch = size
        call = partial(model.decode, model.prepare_image(encodings), torch.arange(size), points, labels)
        each = min(_seconds(model, call) for _ in range(_REPEATS)) / size
        if each < best:
            best_size, best = size, each
        elif each > _WORSE * best:
            break
    return best_size


def _seconds(model: BatchedSamPredictor, call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    return time.perf_counter() - started


def _key(model: BatchedSamPredictor) -> str:
    if model.device.type == "cuda":
        device = torch.cuda.get_device_name(model.device)
    else:
        capability = torch.backends.cpu.get_cpu_capability()
        device = f"{platform.node()} {model.device} {capability} {torch.get_num_threads()} threads"
    decoder = f"{model.decode_precision}{', compiled' if model.compiled else ''}"
    return f"{device}, torch {torch.__version__}, encoding {model.encoding_shape}, {decoder}"


def _read(path: Path) -> dict[str, object]:
    try:
        known = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
