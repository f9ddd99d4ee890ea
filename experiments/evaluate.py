"""Measures a trained agent again, perhaps on other data.

python -m experiments.evaluate run=outputs/train/<date>
python -m experiments.evaluate run=<dir> dataset=folder dataset.root=photos
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf
from stable_baselines3.common.policies import BasePolicy

import alignsam_gym
from alignsam_gym.agents.algorithms import make_policy
from alignsam_gym.agents.trained_run import CONFIG, METRICS_FILE, load_config, load_run
from alignsam_gym.agents.vec_env import PromptVecEnv
from alignsam_gym.data.mask_files import write_mask
from alignsam_gym.envs.alignsam_vector_env import AlignSAMVectorEnv
from alignsam_gym.envs.episode import Episode
from alignsam_gym.evaluation.filmstrips import filmstrip
from alignsam_gym.evaluation.metrics_file import write_metrics
from alignsam_gym.evaluation.prompting_evaluation import compare
from alignsam_gym.evaluation.prompting_tables import metrics_table, prompting_table
from alignsam_gym.evaluation.resume_log import ResumeLog
from alignsam_gym.experiments.evaluation_options import check_evaluation_options, chosen_strategies
from alignsam_gym.experiments.hydra_command import hydra_command
from alignsam_gym.experiments.run_config import config_diff, save_config
from alignsam_gym.experiments.run_lock import run_lock

log = logging.getLogger(__name__)


@hydra_command("evaluate")
def main(config: DictConfig) -> float:
    """Measure a run again.

    Returns:
        The mIoU of the first prompting strategy, the agent unless `evaluate.strategies` says otherwise.
    """
    folder, output = Path(config.run), Path(config.output)
    run = load_config(folder)
    trained_with = run.seed
    _change(run, config)
    check_evaluation_options(run)
    env, policy = load_run(folder, run)
    untrained = make_policy(PromptVecEnv(env), run.agent, run.policy, trained_with)
    chosen_strategies(run, env.episode, policy, untrained)  # before anything in the output is changed
    output.mkdir(parents=True, exist_ok=True)
    extra = {"run": str(config.run), "dataset": OmegaConf.to_container(run.dataset, resolve=True)}
    with run_lock(output):
        if output.resolve() != folder.resolve():
            if (output / CONFIG).exists() and config_diff(output, run):
                (output / METRICS_FILE).unlink(missing_ok=True)  # another configuration's
            save_config(output, run)  # what a report tells evaluations apart by
        return evaluate_agent(output, run, env, policy, untrained, extra)


def _change(run: DictConfig, config: DictConfig) -> None:
    """Put what the command line gives in the place of what the run was trained with."""
    for name in ("dataset", "device", "seed"):
        if config.get(name) is not None:
            OmegaConf.update(run, name, config[name], merge=False)
    for name, value in config.evaluate.items():
        if value is not None:
            OmegaConf.update(run, f"evaluate.{name}", value, merge=False)


def evaluate_agent(
    folder: Path,
    config: DictConfig,
    env: AlignSAMVectorEnv,
    policy: BasePolicy,
    untrained: BasePolicy,
    extra: Mapping[str, Any],
) -> float:
    """Compare prompting strategies; write ``metrics.json`` and filmstrips, and print the tables.

    An evaluation of the same run and configuration that was interrupted in this folder goes on where it stopped.
    With ``evaluate.save_predictions``, last masks go to ``predictions/<strategy>/<sample id>.png``.

    Args:
        folder: Where all of it is written.
        config: The run's.
        env: Of the images to measure on.
        policy: The agent's.
        untrained: The one that its training began with.
        extra: Further entries of ``metrics.json``, plain values.

    Returns:
        The mIoU of the first strategy.
    """
    options, episode = config.evaluate, env.episode
    dataset = episode.encoded.dataset

    def keep(strategy: str, name: str, mask: np.ndarray) -> None:
        write_mask(folder / "predictions" / re.sub(r"\W+", "_", strategy), name, mask)

    strategies, drawn = chosen_strategies(config, episode, policy, untrained)
    resume_log = ResumeLog(folder / "evaluation.jsonl", _signature(config, episode, policy))
    try:
        results = compare(
            episode, options.limit, strategies, resume_log, keep if options.get("save_predictions") else None
        )
        count = min(options.filmstrips, len(episode.encoded))
        if count:
            filmstrip(episode, _spread(count, len(episode.encoded)), drawn, folder / "filmstrip.png")
    except KeyboardInterrupt:
        log.warning("interrupted; the same evaluation goes on from %s", resume_log.path)
        raise SystemExit(130) from None
    metrics = write_metrics(folder, results, dataset, {**extra, "seed": config.seed})  # last: it tells that all is done
    resume_log.remove()
    summaries = metrics["prompting"]
    first = next(iter(summaries.values()))
    title = f"{dataset.name}, {first['images']} {options.get('split', 'test')} images"
    prompting_table(summaries, title).print()
    last = {name: summary["metrics"] for name, summary in summaries.items()}
    metrics_table(last, metrics["table"], f"After {episode.rules.max_steps} prompts: {title}").print()
    return float(first["miou"])


def _spread(count: int, images: int) -> list[int]:
    """Choose `count` of some images, as far apart as can be."""
    return [round(place * (images - 1) / max(1, count - 1)) for place in range(count)]


def _signature(config: DictConfig, episode: Episode, policy: BasePolicy) -> dict[str, Any]:
    """Gather what an evaluation's results depend on, but for the data set's pixels."""
    weights, clip = hashlib.sha256(), episode.encoded.clip or episode.encoded.features
    for module in (policy, episode.srm.members):
        for name, tensor in module.state_dict().items():
            weights.update(name.encode() + tensor.cpu().numpy().tobytes())
    return {
        "version": alignsam_gym.__version__,
        "config": OmegaConf.to_container(config, resolve=True),
        "sam": episode.model.fingerprint,
        "clip": clip.fingerprint if clip else None,
        "weights": weights.hexdigest(),
        "ids": list(episode.encoded.dataset.ids),
    }


if __name__ == "__main__":
    main()
