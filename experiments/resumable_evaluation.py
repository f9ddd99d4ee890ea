"""What an evaluation by one process and one in shards have in common: which images, where masks go, how it goes on."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf
from stable_baselines3.common.policies import BasePolicy

import alignsam_gym
from alignsam_gym.data.mask_files import write_mask
from alignsam_gym.envs.episode import Episode
from alignsam_gym.evaluation.resume_log import ResumeLog
from alignsam_gym.experiments.run_config import ANY_MACHINE
from alignsam_gym.experiments.shard import WHOLE, Shard

log = logging.getLogger(__name__)

RESUME_LOG = "evaluation.jsonl"


@contextmanager
def resumable(folder: Path, config: DictConfig, episode: Episode, policy: BasePolicy) -> Iterator[ResumeLog]:
    """Open an evaluation's resume log; an interruption ends the process with status 130, and tells where it goes on.

    What another configuration or agent has left in it is discarded with a warning.

    Args:
        folder: Where the log is.
        config: The run's.
        episode: Of the images to measure on.
        policy: The agent's.
    """
    file, expected = folder / RESUME_LOG, signature(config, episode, policy)
    if file.exists() and not ResumeLog.belongs_to(file, expected):
        log.warning("what %s holds was measured with other keys or another agent, and is discarded", file)
    resume_log = ResumeLog(file, expected)
    try:
        yield resume_log
    except KeyboardInterrupt:
        log.warning("interrupted; the same evaluation goes on from %s", resume_log.path)
        raise SystemExit(130) from None


def images_of(config: DictConfig, episode: Episode, shard: Shard = WHOLE) -> Sequence[int]:
    """Choose the images that are measured.

    Args:
        config: The run's.
        episode: Of all images.
        shard: Which part of them.

    Returns:
        Their places in the data set, consecutive.

    Raises:
        OptionError: There are more shards than batches.
    """
    return shard.whole_batches(range(len(episode.encoded))[: config.evaluate.limit], len(episode))


def mask_keeper(folder: Path, config: DictConfig) -> Callable[[str, str, np.ndarray], None] | None:
    """Return what writes a strategy's last mask of an image; None unless ``evaluate.save_predictions`` is set."""

    def keep(strategy: str, name: str, mask: np.ndarray) -> None:
        write_mask(folder / "predictions" / re.sub(r"\W+", "_", strategy), name, mask)

    return keep if config.evaluate.get("save_predictions") else None


def signature(config: DictConfig, episode: Episode, policy: BasePolicy) -> dict[str, Any]:
    """Gather what an evaluation's results depend on, but for the data set's pixels."""
    weights, clip = hashlib.sha256(), episode.encoded.clip or episode.encoded.features
    for module in (policy, episode.srm.members):
        for name, tensor in module.state_dict().items():
            weights.update(name.encode() + tensor.cpu().numpy().tobytes())
    values = OmegaConf.to_container(config, resolve=True)
    assert isinstance(values, dict)
    return {
        "version": alignsam_gym.__version__,
        "config": {key: value for key, value in values.items() if key not in ANY_MACHINE},
        "sam": episode.model.fingerprint,
        "clip": clip.fingerprint if clip else None,
        "weights": weights.hexdigest(),
        "ids": list(episode.encoded.dataset.ids),
    }
