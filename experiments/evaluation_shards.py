"""An evaluation in shards, each by a process of its own, perhaps on another machine, and how they are put together."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from filelock import FileLock
from omegaconf import DictConfig
from stable_baselines3.common.policies import BasePolicy

from alignsam_gym.atomic_write import write_atomically
from alignsam_gym.envs.episode import Episode
from alignsam_gym.errors import DataError
from alignsam_gym.evaluation.prompting_evaluation import compare
from alignsam_gym.evaluation.prompting_strategies import PromptingStrategy
from alignsam_gym.evaluation.resume_log import ResumeLog
from alignsam_gym.experiments.resumable_evaluation import RESUME_LOG, images_of, mask_keeper, resumable, signature
from alignsam_gym.experiments.run_config import ANY_MACHINE, config_diff, save_config
from alignsam_gym.experiments.run_lock import run_lock
from alignsam_gym.experiments.shard import Shard

log = logging.getLogger(__name__)

SHARDS = "shards"
"""Folder, in that of the whole evaluation, that has a folder for each shard until they are put together."""


def measure_shard(
    output: Path,
    shard: Shard,
    config: DictConfig,
    episode: Episode,
    policy: BasePolicy,
    strategies: dict[str, PromptingStrategy],
) -> None:
    """Measure a shard. One that was interrupted goes on where it stopped.

    All shards decode as many prompt sets at once as the first to begin, as the last bits of an answer depend on it.

    Args:
        output: Where the whole evaluation is to be.
        shard: Which one.
        config: The run's.
        episode: Of all images to measure on.
        policy: The agent's.
        strategies: By name.

    Raises:
        OptionError: There are more shards than batches, or another process measures this one.
    """
    images, folder = images_of(config, episode, shard), output / SHARDS / shard.name
    folder.mkdir(parents=True, exist_ok=True)
    episode.model.decode_batch = _first_size(output / SHARDS, episode.model.decode_batch)
    with run_lock(folder):
        save_config(folder, config)
        with resumable(folder, config, episode, policy) as resume_log:
            compare(episode, images, strategies, resume_log, mask_keeper(output, config))
    log.info("%d images are measured, in %s; when all shards are, put them together by merge=true", len(images), folder)


def merge_shards(output: Path, count: int, config: DictConfig, episode: Episode, policy: BasePolicy) -> None:
    """Make the whole evaluation's resume log of those of its shards, so that it finds every image measured.

    Args:
        output: Where the whole evaluation is to be.
        count: How many shards there are.
        config: The run's.
        episode: Of all images to measure on.
        policy: The agent's.

    Raises:
        DataError: A shard is missing or unfinished, or something else was measured.
    """
    expected, ids = signature(config, episode, policy), episode.encoded.dataset.ids
    records, unfinished = list[dict[str, Any]](), list[int]()
    for shard in (Shard(index, count) for index in range(count)):
        found = _records(output / SHARDS / shard.name, config, expected)
        if [record["id"] for record in found] != [ids[image] for image in images_of(config, episode, shard)]:
            unfinished.append(shard.index)
        records += found
    if unfinished:
        raise DataError(
            f"{output / SHARDS} lacks {len(unfinished)} of {count} shards, or their ends; measure them first: "
            f"-m num_shards={count} shard={','.join(map(str, unfinished))}"
        )
    (output / RESUME_LOG).unlink(missing_ok=True)
    ResumeLog(output / RESUME_LOG, expected).append(records)


def _records(folder: Path, config: DictConfig, expected: dict[str, Any]) -> list[dict[str, Any]]:
    """Read what a shard has measured so far; nothing if it has not begun."""
    file = folder / RESUME_LOG
    if not file.exists():
        return []
    if changed := config_diff(folder, config, ANY_MACHINE):
        raise DataError(
            f"{folder} was measured with another {', '.join(changed)}; give the same to merge, or measure it again."
        )
    if not ResumeLog.belongs_to(file, expected):
        raise DataError(
            f"{folder} was measured with another agent, data set, version or precision than are here; merge where all "
            "are the same, or measure it again."
        )
    return list(ResumeLog(file, expected).read())


def _first_size(folder: Path, size: int) -> int:
    """Return the size that the first process called this with."""
    file = folder / "decode_batch.txt"
    with FileLock(folder / ".lock"):
        if not file.exists():
            write_atomically(file, str(size).encode())
    return int(file.read_text())
