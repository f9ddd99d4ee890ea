"""A run's evaluation, what it leaves in its folder, and how a command ends."""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial, wraps
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from stable_baselines3.common.policies import BasePolicy

import alignsam_gym
import alignsam_gym.experiments.hydra_schema
from alignsam_gym.agents.trained_run import CONFIG, load_config
from alignsam_gym.atomic_write import write_atomically
from alignsam_gym.data import Dataset
from alignsam_gym.data.mask_files import write_mask
from alignsam_gym.envs.alignsam_vector_env import AlignSAMVectorEnv
from alignsam_gym.envs.episode import Episode
from alignsam_gym.errors import AlignSAMError, OptionError, check_count, check_switch
from alignsam_gym.evaluation.filmstrips import filmstrip
from alignsam_gym.evaluation.prompting_evaluation import (
    PromptingStrategy,
    compare,
    print_metrics,
    print_table,
    prompting_strategies,
)
from alignsam_gym.evaluation.resume_log import ResumeLog
from alignsam_gym.metrics import PromptingScores, table_metrics

log = logging.getLogger(__name__)
T = TypeVar("T")


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Two processes in one folder would overwrite each other's checkpoints and measurements. Raises OptionError."""
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout as error:
        raise OptionError(f"Another process is at work in {folder}; wait until it ends, or choose another.") from error


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


def config_diff(folder: Path, config: DictConfig, aside: Collection[str] = ()) -> list[str]:
    """Keys that have other values in the configuration that a run left in `folder`, dotted.

    aside: keys and groups that do not count. Raises WeightsError.
    """
    kept, now = (flatten(OmegaConf.to_container(each, resolve=True)) for each in (load_config(folder), config))
    counted = (key for key in kept.keys() | now.keys() if not {key, key.split(".")[0]} & {*aside})
    return sorted(key for key in counted if kept.get(key) != now.get(key))


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """Nested groups as one, by dotted key."""
    if not isinstance(config, dict):
        return {prefix: config}
    return {
        key: value
        for name, part in config.items()
        for key, value in flatten(part, f"{prefix}.{name}".lstrip(".")).items()
    }


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

    strategies, drawn = chosen_strategies(config, episode, policy)
    resume_log = ResumeLog(folder / "evaluation.jsonl", _signature(config, episode, policy))
    count = min(options.filmstrips, len(episode.encoded))
    try:
        results = compare(
            episode, options.limit, strategies, resume_log, keep if options.get("save_predictions") else None
        )
        if count:
            spread = [round(i * (len(episode.encoded) - 1) / max(1, count - 1)) for i in range(count)]
            filmstrip(episode, spread, drawn, folder / "filmstrip.png")
    except KeyboardInterrupt:
        log.warning("interrupted; the same evaluation goes on from %s", resume_log.path)
        raise SystemExit(130) from None
    metrics = write_metrics(folder, results, dataset, {**extra, "seed": config.seed})  # last: it tells that all is done
    summaries = metrics["prompting"]
    resume_log.remove()
    title = f"{dataset.name}, {next(iter(summaries.values()))['images']} test images"
    print_table(summaries, title)
    last, figures = episode.rules.max_steps, {name: one["metrics"] for name, one in summaries.items()}
    print_metrics(figures, metrics["table"], f"After {last} prompts: {title}")
    return metrics


def write_metrics(
    folder: Path, results: Mapping[str, PromptingScores], dataset: Dataset, extra: Mapping[str, Any]
) -> dict[str, Any]:
    """Write ``metrics.json``: on what, every method's figures, those that the data set's table shows, IoU by image."""
    per_image = {
        name: {id: round(float(iou), 4) for id, iou in zip(scores.ids, scores.ious()[:, -1], strict=True)}
        for name, scores in results.items()
    }
    metrics = {
        **extra,
        "measured_on": dataset.name,
        "table": list(table_metrics(dataset.name)),
        "prompting": {name: scores.summary() for name, scores in results.items()},
        "iou_by_image": per_image,
    }
    write_atomically(folder / "metrics.json", json.dumps(metrics, indent=1).encode())
    return metrics


def check_counts(config: DictConfig) -> None:
    """Raises OptionError for a seed, or counts in the config group ``evaluate``, that cannot be."""
    options = config.evaluate
    check_seed(config.seed)
    for name in ("deterministic", "save_predictions"):
        check_switch(f"evaluate.{name}", options.get(name, False))
    check_count("evaluate.batch_size", options.batch_size, "at least one image is prompted at once")
    check_count("evaluate.filmstrips", options.get("filmstrips", 0), "a count of test images, or 0 for none", least=0)
    if options.limit is not None:
        check_count("evaluate.limit", options.limit, "at least one test image is measured")


def check_seed(seed: Any) -> None:
    check_count("seed", seed, "seeds are 0 and above", least=0)


def chosen_strategies(
    config: DictConfig, episode: Episode, policy: BasePolicy
) -> tuple[dict[str, PromptingStrategy], dict[str, PromptingStrategy]]:
    """The ways of prompting to measure, and those to draw. Raises OptionError."""
    options, clip = config.evaluate, episode.encoded.clip is not None
    for name in ("strategies", "filmstrip_strategies"):
        if isinstance(options.get(name), str):
            raise OptionError(f"evaluate.{name}={options[name]}: a list, such as [{options[name]}].")
    named = partial(prompting_strategies, policy, options.deterministic, config.seed, clip)
    drawn = named(options.get("filmstrip_strategies", ["agent"]), key="evaluate.filmstrip_strategies")
    return named(options.get("strategies")), drawn


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
        "clip": episode.encoded.clip.fingerprint if episode.encoded.clip else None,
        "weights": weights.hexdigest(),
        "ids": list(episode.encoded.dataset.ids),
    }


def exit_on_user_error(main: Callable[[DictConfig], T]) -> Callable[[DictConfig], T]:
    """Let a user's mistake end a command with its message alone."""

    @wraps(main)
    def command(config: DictConfig) -> T:
        try:
            return main(config)
        except AlignSAMError as error:
            sys.exit(f"error: {error}")
        except MissingMandatoryValue as error:
            sys.exit(f"error: {error.full_key} is needed: give {error.full_key}=….")
        except OmegaConfBaseException as error:  # of a value of another type
            sys.exit(f"error: {str(error).splitlines()[0]}")

    return command
