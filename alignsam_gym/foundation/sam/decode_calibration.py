"""Measures how decoding is fastest on this device, and keeps the result on disk."""

from __future__ import annotations

import json
import logging
import platform
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch

from alignsam_gym.atomic_write import write_atomically
from alignsam_gym.foundation.devices import synchronize
from alignsam_gym.foundation.sam.predictor import BatchedSamPredictor

_SIZES = (1, 2, 4, 8, 16, 32, 64)
_TYPES = {"torch.float32": torch.float32, "torch.bfloat16": torch.bfloat16}
_REPEATS = 3
_WORSE = 1.25  # larger sizes are not tried once a decode takes this many times as long as at the best size
_POINTS = 9  # half-way through an episode of 15 steps
log = logging.getLogger(__name__)


def calibrate_decoding(model: BatchedSamPredictor, directory: Path) -> None:
    """Set `model.decode_batch` to the fastest size on this device, and `model.decode_type` if it is to be chosen.

    What is best is read from ``calibration.json`` if that has it. Otherwise it is measured, which takes a second or
    two, and written there. The last bits of a decode depend on the size, so a run repeats bit by bit only at the same
    size.

    Args:
        model: Its device, precision, architecture and compilation, and PyTorch's version, identify a measurement.
        directory: Folder of ``calibration.json``. If it cannot be written, a warning says so.
    """
    path, key = directory / "calibration.json", _key(model)
    types = _TYPES if model.decode_precision == "auto" else {str(model.decode_type): model.decode_type}
    match _read(path).get(key):
        case [int(size), str(name)] if size > 0 and name in types:
            pass
        case _:
            size, name = _fastest(model, types)
            try:
                write_atomically(path, json.dumps(_read(path) | {key: [size, name]}, indent=2).encode())
            except OSError as error:
                log.warning("The calibration cannot be kept in %s (%s); it is repeated each time.", path, error)
    model.decode_batch, model.decode_type = size, types[name]


def fastest_batch(model: BatchedSamPredictor) -> int:
    """Measure the batch size, from 1 to 64, at which a decode of random prompts takes least time for each prompt set.

    Of three trials the fastest counts. Larger sizes are not tried once a size is clearly slower than the best. The
    call leaves `model.decode_batch` at the last size that it tried.
    """
    return _measure(model)[1]


def _fastest(model: BatchedSamPredictor, types: Mapping[str, torch.dtype]) -> tuple[int, str]:
    """Measure the batch size and the type, by its name, with which a decode takes least time."""
    measured = []
    for name, dtype in types.items():
        model.decode_type = dtype
        measured.append((*_measure(model), name))
    _, size, name = min(measured)
    return size, name


def _measure(model: BatchedSamPredictor) -> tuple[float, int]:
    """Return the seconds of each prompt set at the fastest batch size, and the size."""
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
    return best, best_size


def _seconds(model: BatchedSamPredictor, call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    synchronize(model.device)
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
