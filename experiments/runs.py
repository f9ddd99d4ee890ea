"""A run: its environments from its configuration, and its folder."""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import re
import sys
from collections.abc import Callable, Mapping
from functools import partial, wraps
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from stable_baselines3.common.policies import BasePolicy

import alignsam_gym
from agents.algorithms import make_policy
from agents.bundle import load_agent
from agents.vec_env import PromptVecEnv, make_environments
from alignsam_gym.data import Dataset
from alignsam_gym.envs.episode import Episode
from alignsam_gym.envs.vector import AlignSAMVectorEnv
from alignsam_gym.errors import AlignSAMError, WeightsError
from alignsam_gym.foundation.files import write_atomically
from alignsam_gym.metrics import PromptingScores, table_metrics
from alignsam_gym.srm import SRM
from experiments.evaluation import Way, compare, print_metrics, print_table, ways_of_prompting
from experiments.journal import Journal
from experiments.masks import write_mask
from experiments.pictures import filmstrip

CONFIG = "config.yaml"
log = logging.getLogger(__name__)
T = TypeVar("T")


def make_env(
    config: DictConfig, split: str, num_envs: int, srm: SRM | None = None, samples: Dataset | None = None
) -> AlignSAMVectorEnv:
    """The vector environment of a configuration.

    srm: a trained one; None for the configured, untrained. samples: instead of the configured data set.
    """
    options: dict[str, Any] = OmegaConf.to_container(config.env, resolve=True)  # type: ignore[assignment]
    options.pop("num_envs")
    if split == "test":
        options["max_steps"] = config.evaluate.get("max_steps") or config.env.max_steps
    dataset: dict[str, Any] = OmegaConf.to_container(config.dataset, resolve=True)  # type: ignore[assignment]
    source = {"dataset": dataset.pop("name"), **dataset} if samples is None else {"dataset": samples}
    return make_environments(
        num_envs,
        split=split,
        srm=srm if srm is not None else dict(config.srm),
        device=config.device,
        cache_dir=config.get("cache_dir"),
        **options,
        **source,
    )


def load_run(
    folder: Path, changes: Mapping[str, Any], samples: Dataset | None = None
) -> tuple[DictConfig, AlignSAMVectorEnv, BasePolicy]:
    """A finished run's configuration, test environment and trained policy.

    changes: dotted configuration keys and values that replace the run's. samples: instead of the run's
    data set. Raises WeightsError.
    """
    config = load_config(folder)
    for name, value in changes.items():
        OmegaConf.update(config, name, value, merge=False)
    env = make_env(config, "test", config.evaluate.batch_size, samples=samples)
    venv = PromptVecEnv(env)
    policy = make_policy(venv, config.agent, config.policy)
    load_agent(folder, policy, env.episode.srm)
    policy.set_training_mode(False)
    return config, env, policy


def load_config(folder: Path) -> DictConfig:
    """The resolved configuration that a run left in its folder. Raises WeightsError."""
    if not (folder / CONFIG).exists():
        raise WeightsError(f"{folder} is not the folder of a training: it has no {CONFIG}.")
    config = OmegaConf.load(folder / CONFIG)
    assert isinstance(config, DictConfig)
    return config


def save_config(folder: Path, config: DictConfig) -> None:
    OmegaConf.save(config, folder / CONFIG, resolve=True)
    packages = ("torch", "gymnasium", "stable-baselines3", "segment-anything", "numpy")
    record = {
        "alignsam-gym": alignsam_gym.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        **{name: version(name) for name in packages},
    }
    (folder / "versions.json").write_text(json.dumps(record, indent=2))


def evaluate(
    folder: Path, config: DictConfig, env: AlignSAMVectorEnv, policy: BasePolicy, extra: Mapping[str, Any]
) -> dict[str, Any]:
    """Compare ways of prompting; writes ``metrics.json`` and filmstrips, prints the tables.

    An evaluation of the same run and configuration that was interrupted in this folder goes on where it stopped.
    With ``evaluate.save_predictions``, last masks go to ``predictions/<way of prompting>/<sample id>.png``.
    """
    options, episode = config.evaluate, env.episode
    dataset = episode.encoded.dataset

    def keep(way: str, name: str, mask: np.ndarray) -> None:
        write_mask(folder / "predictions" / re.sub(r"\W+", "_", way), name, mask)

    ways, drawn = chosen_ways(config, episode, policy)
    journal = Journal(folder / "evaluation.jsonl", _signature(config, episode, policy))
    try:
        results = compare(episode, options.limit, ways, journal, keep if options.get("save_predictions") else None)
    except KeyboardInterrupt:
        log.warning("interrupted; the same evaluation goes on from %s", journal.path)
        raise SystemExit(130) from None
    metrics = write_metrics(folder, results, dataset, {**extra, "seed": config.seed})
    summaries = metrics["prompting"]
    journal.remove()
    count = min(options.filmstrips, len(episode.encoded))
    if count:
        spread = [round(i * (len(episode.encoded) - 1) / max(1, count - 1)) for i in range(count)]
        filmstrip(episode, spread, drawn, folder / "filmstrip.png")
    title = f"{dataset.name}, {next(iter(summaries.values()))['images']} test images"
    print_table(summaries, title)
    last, figures = episode.rules.max_steps, {name: one["metrics"] for name, one in summaries.items()}
    print_metrics(figures, metrics["table"], f"After {last} prompts: {title}")
    return metrics


def write_metrics(
    folder: Path, results: Mapping[str, PromptingScores], dataset: Dataset, extra: Mapping[str, Any]
) -> dict[str, Any]:
    """Write ``metrics.json``: every method's figures, those that the data set's table shows, and IoU by image."""
    per_image = {
        name: {id: round(float(iou), 4) for id, iou in zip(scores.ids, scores.ious()[:, -1], strict=True)}
        for name, scores in results.items()
    }
    metrics = {
        **extra,
        "table": list(table_metrics(dataset.name)),
        "prompting": {name: scores.summary() for name, scores in results.items()},
        "iou_by_image": per_image,
    }
    write_atomically(folder / "metrics.json", json.dumps(metrics, indent=1).encode())
    return metrics


def chosen_ways(config: DictConfig, episode: Episode, policy: BasePolicy) -> tuple[dict[str, Way], dict[str, Way]]:
    """The ways of prompting to measure, and those to draw. Raises OptionError."""
    options, clip = config.evaluate, episode.encoded.clip is not None
    named = partial(ways_of_prompting, policy, options.deterministic, config.seed, clip)
    return named(options.get("ways")), named(options.get("filmstrip_ways", ["agent"]))


def _signature(config: DictConfig, episode: Episode, policy: BasePolicy) -> dict[str, Any]:
    """What an evaluation's results depend on, but for the data set's pixels."""
    weights = hashlib.sha256()
    for module in (policy, episode.srm.members):
        for name, tensor in module.state_dict().items():
            weights.update(name.encode() + tensor.cpu().numpy().tobytes())
    return {
        "version": alignsam_gym.__version__,
        "config": OmegaConf.to_container(config, resolve=True),
        "sam": episode.model.fingerprint,
        "weights": weights.hexdigest(),
        "ids": list(episode.encoded.dataset.ids),
    }


def report_errors(main: Callable[[DictConfig], T]) -> Callable[[DictConfig], T]:
    """Let a user's mistake end a command with its message alone."""

    @wraps(main)
    def command(config: DictConfig) -> T:
        try:
            return main(config)
        except AlignSAMError as error:
            sys.exit(f"error: {error}")

    return command
