"""Runs one benchmark, and records what it measured and where."""

from __future__ import annotations

import json
import platform
import sys
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import torch

from alignsam_gym.errors import OptionError, check_count
from alignsam_gym.experiments.benchmark import Architecture, Benchmark
from alignsam_gym.experiments.benchmark.decode_speed import time_decoding
from alignsam_gym.experiments.benchmark.environment_speed import time_environments
from alignsam_gym.experiments.benchmark.evaluation_speed import time_evaluation
from alignsam_gym.experiments.benchmark.gpu_suite import measure_gpu
from alignsam_gym.experiments.benchmark.memory import measure_memory
from alignsam_gym.experiments.benchmark.models import Setting
from alignsam_gym.experiments.benchmark.store_speed import time_store
from alignsam_gym.experiments.benchmark.training_speed import time_training
from alignsam_gym.foundation.devices import resolve_device

FUNCTIONS = {
    Benchmark.decode: time_decoding,
    Benchmark.env: time_environments,
    Benchmark.evaluate: time_evaluation,
    Benchmark.gpu: measure_gpu,
    Benchmark.memory: measure_memory,
    Benchmark.store: time_store,
    Benchmark.train: time_training,
}


def run_benchmark(
    name: Benchmark, sam: Architecture, device: str, threads: int | None, quick: bool, output: Path
) -> None:
    """Run a benchmark, write ``<output>/<name>.json`` and print the ratio.

    Args:
        name: What to time.
        sam: The architecture to time it on.
        device: Where to compute, such as ``auto`` or ``cuda:0``.
        threads: Threads of the CPU; None leaves PyTorch's own number.
        quick: Whether few rounds are enough, to see that it works.
        output: Folder of the JSON, which is made if needed.

    Raises:
        OptionError: If a value makes no sense, or the folder cannot be made.
    """
    if threads is not None:
        torch.set_num_threads(check_count("threads", threads, "at least one computes"))
    place = resolve_device(device)
    _make_folder(output)
    results = FUNCTIONS[name](Setting(sam, device, quick, output))
    about = {
        "sam": sam,
        "device": str(place),
        "processor": torch.cuda.get_device_name() if place.type == "cuda" else processor(),
        "threads": torch.get_num_threads(),
        "torch": version("torch"),
        "quick": quick,
    }
    path = output / f"{name}.json"
    path.write_text(json.dumps({**about, **results}, indent=2))
    print(f"{name}: ratio {results['ratio']:.2f} ({results['what']}); {path}")
    if failed := results.get("failed"):
        sys.exit(f"error: of {name} failed {', '.join(failed)}; {path} says how.")


def processor() -> str:
    """Return the CPU's name, which Python does not know on Linux."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OptionError(f"output={str(folder)!r} is no folder ({error.strerror}); name another.") from error
