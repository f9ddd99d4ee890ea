"""Memory: what rollouts hold, and how time and the whole process grow."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from rich.progress import track
from stable_baselines3.common.buffers import RolloutBuffer

from alignsam_gym.experiments.benchmark.environment_speed import STEPS
from alignsam_gym.experiments.benchmark.models import Setting, benchmark_model
from alignsam_gym.experiments.benchmark.reference_implementation import SIDE
from alignsam_gym.figure_files import Figure
from alignsam_gym.result_table import ResultTable

GROWTH = {"environments": (1, 4, 16, 64), "steps": (5, 15, 45), "images": (50, 500, 5000)}
QUICK = {"environments": (1, 2)}


def measure_memory(setting: Setting) -> dict[str, Any]:
    """Count the bytes of a rollout, and time runs of growing size, each in a new process.

    The ratio is that of the reference implementation's rollout to ours.
    """
    channels, height, width = benchmark_model(setting.sam, setting.device, encoder=False).embedding_shape
    held = {"ours": _held(spaces.Box(-1, 1, (channels, SIDE, SIDE), np.float16))}
    held["reference"] = _held(spaces.Box(-1, 1, (channels, height, width), np.float32))
    rows: list[dict[str, Any]] = []
    growth = QUICK if setting.quick else GROWTH
    for what, sizes in growth.items():
        for size in track(sizes, f"growing {what}"):
            rows.append({"growing": what, "size": size, **_probe(setting.sam, setting.device, what, size)})
    lines = [[row["growing"], row["size"], f"{row['seconds']:.1f}", f"{row['peak'] / 2**20:.0f}"] for row in rows]
    title = f"an episode on every image, {setting.sam}"
    ResultTable(["growing", "size", "seconds", "peak, MiB"], lines, title).print()
    exponents = {what: _exponent([row for row in rows if row["growing"] == what]) for what in growth}
    for what, exponent in exponents.items():
        print(f"time grows with {what} to the power of {exponent:.2f}")
    ours, reference = (f"{held[way] / 2**20:.1f} MiB" for way in ("ours", "reference"))
    print(f"a rollout of 16 environments and {STEPS} steps: {ours}, the reference implementation's {reference}")
    _plot(rows, setting.output / "memory.png")
    what = "the reference implementation's rollout over ours, in bytes"
    return {
        "ratio": held["reference"] / held["ours"],
        "what": what,
        "rollout": held,
        "growth": rows,
        "exponents": exponents,
    }


def _held(space: spaces.Box) -> int:
    buffer = RolloutBuffer(STEPS, space, spaces.Discrete(SIDE**2), n_envs=16)
    return sum(part.nbytes for part in vars(buffer).values() if isinstance(part, np.ndarray))


def _probe(sam: str, device: str, what: str, size: int) -> dict[str, float]:
    """An episode of training on every image, in a process of its own: seconds, and its peak of memory in bytes."""
    environments = size if what == "environments" else 16
    steps = {"environments": STEPS, "steps": size, "images": 1}[what]
    images = size if what == "images" else environments
    command = [
        sys.executable,
        "-m",
        "alignsam_gym.experiments.benchmark.probe",
        sam,
        device,
        environments,
        steps,
        images,
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"{what}={size} failed:\n{done.stderr}")
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def _exponent(rows: list[dict[str, Any]]) -> float:
    first, last = rows[0], rows[-1]
    return math.log(last["seconds"] / first["seconds"]) / math.log(last["size"] / first["size"])


def _plot(rows: list[dict[str, Any]], path: Path) -> None:
    growing = list(dict.fromkeys(row["growing"] for row in rows))
    figure = Figure(figsize=(10, 5), layout="constrained")
    axes = figure.subplots(2, len(growing), squeeze=False)
    for column, what in enumerate(growing):
        some = [row for row in rows if row["growing"] == what]
        sizes = [row["size"] for row in some]
        for axis, name, unit, label in zip(axes[:, column], ("seconds", "peak"), (1, 2**20), ("s", "MiB"), strict=True):
            axis.plot(sizes, [row[name] / unit for row in some], "o-")
            axis.set(xscale="log", xlabel=what, ylabel=f"{name}, {label}")
            axis.set(**({"yscale": "log"} if name == "seconds" else {"ylim": (0, None)}))
            axis.set_xticks(sizes, [str(size) for size in sizes])
            axis.minorticks_off()
    figure.savefig(path, dpi=120)
