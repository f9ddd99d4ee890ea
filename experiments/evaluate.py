"""Measures a trained agent again, perhaps on other data.

python -m experiments.evaluate run=outputs/train/<date>
python -m experiments.evaluate run=<dir> "dataset={name: folder, root: photos}"
"""

from __future__ import annotations

from pathlib import Path

import hydra
from omegaconf import DictConfig, OmegaConf

from agents.runs import load_run
from experiments.runs import alone_in, check_counts, evaluate, report_errors, save_config


@hydra.main(version_base="1.3", config_path="../conf", config_name="evaluate")
@report_errors
def main(config: DictConfig) -> float:
    """Returns the mIoU of the first way of prompting, the agent unless `evaluate.ways` says otherwise."""
    changes = {name: config[name] for name in ("dataset", "device", "seed") if config[name] is not None}
    changes |= {f"evaluate.{name}": value for name, value in config.evaluate.items() if value is not None}
    run, env, policy = load_run(Path(config.run), changes)
    check_counts(run.evaluate)
    output = Path(config.output)
    output.mkdir(parents=True, exist_ok=True)
    extra = {"run": str(config.run), "dataset": OmegaConf.to_object(run.dataset)}
    with alone_in(output):
        if output.resolve() != Path(config.run).resolve():
            save_config(output, run)  # what a report tells evaluations apart by
        metrics = evaluate(output, run, env, policy, extra)
    return float(next(iter(metrics["prompting"].values()))["miou"])


if __name__ == "__main__":
    main()
