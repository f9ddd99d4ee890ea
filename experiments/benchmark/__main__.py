"""Times ours against another way of doing the same, alternating in one run.

    python -m experiments.benchmark decode
    python -m experiments.benchmark store --sam tiny --quick

Each benchmark prints medians and spreads, writes them as JSON, and ends with a line ``<name>: ratio <number> …``:
the other way's time over ours, so that more is better; its bytes over ours for memory, and for store a start with an
empty cache over one with a full one.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import torch

from alignsam_gym.errors import AlignSAMError, OptionError, check_count
from alignsam_gym.experiments.benchmark.decode_speed import decode
from alignsam_gym.experiments.benchmark.environment_speed import env
from alignsam_gym.experiments.benchmark.evaluation_speed import evaluate
from alignsam_gym.experiments.benchmark.memory import memory
from alignsam_gym.experiments.benchmark.models import ARCHITECTURES, Setting
from alignsam_gym.experiments.benchmark.store_speed import store
from alignsam_gym.experiments.benchmark.training_speed import train
from alignsam_gym.foundation.sam.predictor import resolve_device

BENCHMARKS = {
    "decode": decode,
    "env": env,
    "evaluate": evaluate,
    "memory": memory,
    "store": store,
    "train": train,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmark", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("name", choices=sorted(BENCHMARKS), help="what to time")
    parser.add_argument(
        "--sam", choices=ARCHITECTURES, default="vit_b", help="architecture; vit_b's weights are random"
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the CPU")
    parser.add_argument("--quick", action="store_true", help="few rounds: to see that it works, not how fast")
    parser.add_argument("--output", type=Path, default=Path("outputs/benchmark"), help="folder of the JSON")
    arguments = parser.parse_args()
    try:
        torch.set_num_threads(check_count("threads", arguments.threads, "at least one computes"))
        device = resolve_device(arguments.device)
        _make_folder(arguments.output)
        setting = Setting(arguments.sam, arguments.device, arguments.quick, arguments.output)
        results = BENCHMARKS[arguments.name](setting)
    except AlignSAMError as error:
        sys.exit(f"error: {error}")
    about = {
        "sam": arguments.sam,
        "device": str(device),
        "processor": torch.cuda.get_device_name() if device.type == "cuda" else processor(),
        "threads": arguments.threads,
        "torch": version("torch"),
        "quick": arguments.quick,
    }
    path = arguments.output / f"{arguments.name}.json"
    path.write_text(json.dumps({**about, **results}, indent=2))
    print(f"{arguments.name}: ratio {results['ratio']:.2f} ({results['what']}); {path}")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OptionError(f"output={str(folder)!r} is no folder ({error.strerror}); name another.") from error


def processor() -> str:
    """The CPU's name, which Python does not know on Linux."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
