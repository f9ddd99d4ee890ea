"""All that is worth knowing of a GPU, by one command that is sized to take less than eight minutes.

On a CPU every part runs with small sizes, to see that it works. Such figures say nothing of a GPU.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from alignsam_gym.agents.trained_run import METRICS_FILE
from alignsam_gym.experiments.benchmark import Architecture
from alignsam_gym.experiments.benchmark.decode_speed import compare_decoders
from alignsam_gym.experiments.benchmark.device_checks import check_device, full_float32
from alignsam_gym.experiments.benchmark.device_usage import device_usage
from alignsam_gym.experiments.benchmark.environment_speed import our_environments, play_episodes
from alignsam_gym.experiments.benchmark.models import BUILDERS, Scenes, Setting, benchmark_model
from alignsam_gym.experiments.benchmark.timing import alternate
from alignsam_gym.experiments.benchmark.training_speed import our_learner
from alignsam_gym.foundation.devices import resolve_device
from alignsam_gym.foundation.sam.predictor import BatchedSamPredictor
from alignsam_gym.result_table import ResultTable

SIDE = 800
"""Of the encoded images, in pixels."""

_LONG_ROUNDS = 2  # of what takes seconds
_LAST_START, _LONGEST_RUN = 420.0, 200.0  # seconds


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        architectures: Of SAM, where prompts are decoded.
        encoders: Names in `BUILDERS` of what encodes images.
        batches: Prompt sets decoded at once.
        environments: Of the environments and trainings that are timed.
        steps: T, prompts an episode.
        rounds: How often a decode is timed; what takes longer is timed twice at most.
        encoded: Images that are encoded at once.
        images: Labelled images of the whole run.
        episodes: E of the whole run.
        keys: Further keys of the whole run.
    """

    architectures: tuple[Architecture, ...]
    encoders: tuple[str, ...]
    batches: tuple[int, ...]
    environments: tuple[int, ...]
    steps: int
    rounds: int
    encoded: int
    images: int
    episodes: int
    keys: tuple[str, ...] = ()


FULL = Sizes(
    architectures=(Architecture.tiny, Architecture.vit_b),
    encoders=tuple(BUILDERS),
    batches=(1, 8, 32, 64),
    environments=(16, 64, 256),
    steps=15,
    rounds=10,
    encoded=16,
    images=50,
    episodes=50,
)
SMALL = Sizes(
    architectures=(Architecture.tiny,),
    encoders=("tiny",),
    batches=(1, 2),
    environments=(2,),
    steps=2,
    rounds=1,
    encoded=2,
    images=4,
    episodes=1,
    keys=("env.num_envs=4", "agent.batch_size=4", "evaluate.strategies=[agent]"),
)


def measure_gpu(setting: Setting) -> dict[str, Any]:
    """Run every part, one after another, and keep what is measured after each. A part that fails does not stop others.

    Convolutions are in full float32, as matrix products are, but for the whole run, a process of its own. A part that
    would begin after seven minutes is left out.

    The ratio is that of decoding by the last architecture in float32 at the largest batch.
    """
    device = resolve_device(setting.device)
    sizes = SMALL if setting.quick or device.type == "cpu" else FULL
    if device.type == "cpu":
        print("This is no GPU: every part runs with small sizes on the CPU, whose figures say nothing of a GPU.")
    results: dict[str, Any] = {"sam": sizes.architectures, "quick": sizes is SMALL, "failed": []}
    started = time.perf_counter()
    for name, part in PARTS.items():
        print(f"\n{name}")
        usage: dict[str, Any] = {}
        try:
            if time.perf_counter() - started > _LAST_START:
                raise TimeoutError(f"{name} was left out, as {_LAST_START:.0f} s had passed.")
            torch.backends.cudnn.deterministic = False  # which Stable-Baselines3's learners change
            with full_float32(), device_usage(device) as usage:
                found = part(str(device), sizes)
        except Exception:  # hours may pass before there is a GPU again, so the other parts are measured
            found = {"error": traceback.format_exc()}
            print(found["error"], file=sys.stderr)
        if "error" in found or found.get("holds") is False:
            results["failed"].append(name)
        results[name] = {**found, "usage": usage}
        print(", ".join(f"{what} {value}" for what, value in usage.items()))
        (setting.output / "gpu.json").write_text(json.dumps(results, indent=2))
    rows = results["decode"].get("rows", [])
    last = [row for row in rows if row["precision"] == "float32"][-1:]
    what = "; ".join(f"segment_anything's loop over ours, {row['sam']}, batch {row['batch']}" for row in last)
    return {"ratio": last[0]["ratio"] if last else float("nan"), "what": what or "decoding failed", **results}


def _checks(device: str, sizes: Sizes) -> dict[str, Any]:
    return check_device(device)


def _decode(device: str, sizes: Sizes) -> dict[str, Any]:
    rows = []
    for name in sizes.architectures:
        for precision in ("bfloat16", "float32"):
            print(f"{name}, {precision}")
            model = benchmark_model(name, device, encoder=False, decode_precision=precision)
            found = compare_decoders(model, sizes.batches, sizes.rounds)
            rows += [{"sam": name, "precision": precision, **row} for row in found]
    return {"rows": rows}


def _steps(device: str, sizes: Sizes) -> dict[str, Any]:
    """Time steps of environments, and steps of trainings, each with its share of the SRM's and PPO's learning."""
    rows: list[dict[str, Any]] = []
    rounds = min(sizes.rounds, _LONG_ROUNDS)
    for name in sizes.architectures:
        model = benchmark_model(name, device, encoder=False)
        for count in sizes.environments:
            done = count * sizes.steps
            with tempfile.TemporaryDirectory() as cache:
                envs = our_environments(model, Scenes(count), count, sizes.steps, cache_dir=cache)
                envs.reset()
                playing = {"environment": partial(play_episodes, envs, sizes.steps)}
                learner = our_learner(envs, sizes.steps)
                training = {"training": partial(learner.learn, done, reset_num_timesteps=False)}
                seconds = {**alternate(playing, rounds, model.device), **alternate(training, rounds, model.device)}
            rates = {what: done / median(times) for what, times in seconds.items()}
            rows.append({"sam": name, "environments": count, "steps_per_second": rates})
    lines = [
        [row["sam"], row["environments"], *(f"{rate:.0f}" for rate in row["steps_per_second"].values())] for row in rows
    ]
    ResultTable(["SAM", "environments", "steps/s", "training steps/s"], lines).print()
    return {"rows": rows}


def _encode(device: str, sizes: Sizes) -> dict[str, Any]:
    """Time encoding, with the resizing of the images on the CPU, and that resizing alone."""
    images = list(np.random.default_rng(0).integers(0, 256, (sizes.encoded, SIDE, SIDE, 3), dtype=np.uint8))
    rows: list[dict[str, Any]] = []
    rounds = min(sizes.rounds, _LONG_ROUNDS)
    for name in sizes.encoders:
        with torch.device(device):  # where random weights are drawn sooner
            sam = BUILDERS[name]()
        for precision in ("float32", "auto"):
            model = BatchedSamPredictor(sam, name, torch.device(device), precision)
            ways = {"images_per_second": model.encode, "resized_per_second": model.resize}
            seconds = alternate({key: partial(way, images) for key, way in ways.items()}, rounds, model.device)
            rates = {key: len(images) / median(times) for key, times in seconds.items()}
            rows.append({"sam": name, "precision": str(model.encode_type).removeprefix("torch."), **rates})
    lines = [[row["sam"], row["precision"], *(f"{row[key]:.1f}" for key in ways)] for row in rows]
    ResultTable(["SAM", "precision", "images/s", "resized alone"], lines).print()
    return {"rows": rows}


def _whole_run(device: str, sizes: Sizes) -> dict[str, Any]:
    """Time ``alignsam train`` with its defaults, as a process: encoding, E · T prompts an image, and measuring."""
    keys = ["dataset=shapes", f"env.shots={sizes.images}", f"env.max_steps={sizes.steps}", f"episodes={sizes.episodes}"]
    keys += [f"device={device}", f"evaluate.limit={sizes.images}", "evaluate.filmstrips=0", *sizes.keys]
    with tempfile.TemporaryDirectory() as folder:
        places = [f"hydra.run.dir={folder}/run", f"cache_dir={folder}/cache"]
        command = [sys.executable, "-m", "alignsam_gym.experiments.cli", "train", *keys, *places]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LONGEST_RUN)
        if done.returncode:
            raise RuntimeError(f"{' '.join(keys)} failed:\n{done.stderr}")
        metrics = json.loads((Path(folder) / "run" / METRICS_FILE).read_text())
    about = {key: metrics[key] for key in ("timesteps", "training_minutes")}
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    return {"keys": keys, **about}


PARTS: dict[str, Callable[[str, Sizes], dict[str, Any]]] = {
    "checks": _checks,
    "decode": _decode,
    "steps": _steps,
    "whole_run": _whole_run,
    "encode": _encode,
}
"""In the order in which they run."""
