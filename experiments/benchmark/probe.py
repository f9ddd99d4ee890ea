"""One of the sizes that `memory` measures, in a process of its own.

python -m alignsam_gym.experiments.benchmark.probe SAM DEVICE ENVIRONMENTS STEPS IMAGES
"""

from __future__ import annotations

import json
import sys
import tempfile
import time

from alignsam_gym.experiments.benchmark import Architecture
from alignsam_gym.experiments.benchmark.device_usage import peak_host_bytes
from alignsam_gym.experiments.benchmark.environment_speed import our_environments
from alignsam_gym.experiments.benchmark.models import Scenes, benchmark_model
from alignsam_gym.experiments.benchmark.training_speed import our_learner


def main(sam: Architecture, device: str, environments: int, steps: int, images: int) -> None:
    model = benchmark_model(sam, device, encoder=False)
    with tempfile.TemporaryDirectory() as cache:
        envs = our_environments(model, Scenes(images), environments, steps, cache_dir=cache)
        ppo = our_learner(envs, steps)
        started = time.perf_counter()
        ppo.learn(max(images, environments) * steps)
        seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "peak": peak_host_bytes()}))


if __name__ == "__main__":
    main(Architecture(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:]))
