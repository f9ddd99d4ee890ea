"""``python -m experiments.benchmark``, which is ``alignsam benchmark``."""

from alignsam_gym.experiments.cli import run_from_module

if __name__ == "__main__":
    run_from_module("benchmark")
