"""Times ours against another way of doing the same, alternating in one run.

    python -m experiments.benchmark decode
    python -m experiments.benchmark decode --sam tiny --quick

Each benchmark prints medians and spreads, writes them as JSON, and ends with a line ``<name>: ratio <number> …``:
the other way's time over ours, so that more is better.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from segment_anything import sam_model_registry
from segment_anything.modeling import Sam
from torch import Tensor

from alignsam_gym.foundation.calibration import fastest_batch
from alignsam_gym.foundation.sam import PromptableModel, resolve_device
from alignsam_gym.foundation.tiny import load_tiny_sam

POINTS = 9  # the pair that an episode begins with, and half of its 15 steps


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmark", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("name", choices=sorted(BENCHMARKS), help="what to time")
    parser.add_argument(
        "--sam", choices=("vit_b", "tiny"), default="vit_b", help="architecture; vit_b's weights are random"
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the CPU")
    parser.add_argument("--quick", action="store_true", help="few rounds: to see that it works, not how fast")
    parser.add_argument("--output", type=Path, default=Path("outputs/benchmark"), help="folder of the JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    model = _model(arguments.sam, arguments.device)
    results = BENCHMARKS[arguments.name](model, rounds=3 if arguments.quick else 15, quick=arguments.quick)
    about = {
        "sam": arguments.sam,
        "device": str(model.device),
        "processor": torch.cuda.get_device_name() if model.device.type == "cuda" else platform.processor(),
        "threads": arguments.threads,
        "torch": version("torch"),
        "quick": arguments.quick,
    }
    arguments.output.mkdir(parents=True, exist_ok=True)
    path = arguments.output / f"{arguments.name}.json"
    path.write_text(json.dumps({**about, **results}, indent=2))
    print(f"{arguments.name}: ratio {results['ratio']:.2f} ({results['what']}); {path}")


@torch.no_grad()
def decode(model: PromptableModel, rounds: int, quick: bool) -> dict[str, Any]:
    """Prompt sets on different images, against ``segment_anything``'s own decoder on one image after another."""
    sizes = (1, 2, 4) if quick else (1, 2, 4, 8, 16, 32)
    model.decode_batch = fastest_batch(model)
    print(f"measured best: {model.decode_batch} prompt sets at once")
    rows: list[dict[str, Any]] = []
    for size in sizes:
        embeddings = torch.randn(size, *model.embedding_shape, device=model.device)
        points = torch.rand(size, POINTS, 2, device=model.device)
        labels = torch.randint(0, 2, (size, POINTS), device=model.device)
        image, every = model.read(embeddings), torch.arange(size, device=model.device)
        ways: dict[str, Callable[[], Tensor]] = {
            "ours": partial(model.decode, image, every, points, labels),
            "segment_anything": partial(_one_by_one, model.sam, embeddings, points * model.input_size, labels),
        }
        difference = (ways["ours"]() - ways["segment_anything"]()).abs().max()
        seconds = alternate(ways, rounds, model.device)
        rows.append({"batch": size, "largest_difference": float(difference), **_statistics(seconds, size)})
    table = Table("prompt sets", "ours, ms each", "segment_anything, ms each", "ratio", "largest difference")
    for row in rows:
        cells = (f"{row[way]['median']:.1f} ± {row[way]['spread']:.1f}" for way in ways)
        table.add_row(str(row["batch"]), *cells, f"{row['ratio']:.2f}", f"{row['largest_difference']:.0e}")
    Console().print(table)
    best = min(rows, key=lambda row: row["ours"]["median"])
    what = f"throughput over segment_anything's own decoder at our best batch, {best['batch']}"
    return {"ratio": best["ratio"], "what": what, "rows": rows}


def alternate(ways: Mapping[str, Callable[[], object]], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of each call, the ways in turn, after one call of each that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, call in ways.items():
            started = time.perf_counter()
            call()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if number:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def _statistics(seconds: Mapping[str, list[float]], count: int) -> dict[str, Any]:
    """Median and half the interquartile range in milliseconds for each of `count`, and the median ratio of a round."""
    milliseconds = {name: 1e3 * np.array(times) / count for name, times in seconds.items()}
    ours, other = milliseconds.values()
    quartiles = {name: np.quantile(times, [0.25, 0.5, 0.75]) for name, times in milliseconds.items()}
    each = {name: {"median": float(q[1]), "spread": float(q[2] - q[0]) / 2} for name, q in quartiles.items()}
    return {**each, "ratio": float(np.median(other / ours))}


def _one_by_one(sam: Sam, embeddings: Tensor, points: Tensor, labels: Tensor) -> Tensor:
    answers = []
    for embedding, p, given in zip(embeddings, points, labels, strict=True):
        sparse, dense = sam.prompt_encoder(points=(p[None], given[None]), boxes=None, masks=None)
        positions = sam.prompt_encoder.get_dense_pe()
        masks, _ = sam.mask_decoder(embedding[None], positions, sparse, dense, multimask_output=False)
        answers.append(masks[:, 0])
    return torch.cat(answers)


def _model(name: str, device: str) -> PromptableModel:
    sam = load_tiny_sam() if name == "tiny" else sam_model_registry[name]()
    return PromptableModel(sam, f"benchmark-{name}", resolve_device(device))


BENCHMARKS = {"decode": decode}


if __name__ == "__main__":
    main()
