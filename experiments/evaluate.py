"""Measures a trained agent again, perhaps on other data.

python -m experiments.evaluate run=outputs/train/<date>
python -m experiments.evaluate run=<dir> dataset=folder dataset.root=photos
"""

from __future__ import annotations

from pathlib import Path

import hydra
from omegaconf import DictConfig, OmegaConf

from alignsam_gym.agents.trained_run import CONFIG, load_config, load_run
from alignsam_gym.evaluation.intervals import METRICS
from alignsam_gym.experiments.run_folder import (
    check_counts,
    chosen_strategies,
    config_diff,
    evaluate,
    exit_on_user_error,
    run_lock,
    save_config,
)


@hydra.main(version_base="1.3", config_path="../conf", config_name="evaluate")
@exit_on_user_error
def main(config: DictConfig) -> float:
    """Returns the mIoU of the first way of prompting, the agent unless `evaluate.strategies` says otherwise."""
    changes = {name: config[name] for name in ("dataset", "device", "seed") if config.get(name) is not None}
    changes |= {f"evaluate.{name}": value for name, value in config.evaluate.items() if value is not None}
    folder, output = Path(config.run), Path(config.output)
    run = load_config(folder)
    for name, value in changes.items():
        OmegaConf.update(run, name, value, merge=False)
    check_counts(run)
    env, policy = load_run(folder, run)
    chosen_strategies(run, env.episode, policy)  # before anything in the output is changed
    output.mkdir(parents=True, exist_ok=True)
    extra = {"run": str(config.run), "dataset": OmegaConf.to_object(run.dataset)}
    with run_lock(output):
        if output.resolve() != folder.resolve():
            if (output / CONFIG).exists() and config_diff(output, run):
                (output / METRICS).unlink(missing_ok=True)  # another configuration's
            save_config(output, run)  # what a report tells evaluations apart by
        metrics = evaluate(output, run, env, policy, extra)
    return float(next(iter(metrics["prompting"].values()))["miou"])


if __name__ == "__main__":
    main()
