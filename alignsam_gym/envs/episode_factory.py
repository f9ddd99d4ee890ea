"""From the environment's options to an `Episode`, for the single and the vector environment alike."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import torch

from alignsam_gym.data import Dataset, all_but, draw_shots, load_dataset, preferred_branch, without_broken
from alignsam_gym.envs.env_config import EnvConfig, SampleOptions
from alignsam_gym.envs.episode import Episode
from alignsam_gym.errors import OptionError
from alignsam_gym.foundation.clip_loading import load_clip
from alignsam_gym.foundation.clip_model import ClipModel
from alignsam_gym.foundation.encoding.embedding_store import EmbeddingStore
from alignsam_gym.foundation.encoding.encoded_dataset import EncodedDataset
from alignsam_gym.foundation.sam.decode_calibration import calibrate_decoding
from alignsam_gym.foundation.sam.predictor import BatchedSamPredictor, load_sam
from alignsam_gym.srm import SRM
from alignsam_gym.state import srm_state, state_channels

if hasattr(os, "register_at_fork"):  # a forked worker that uses OpenMP waits for ever for its parent's threads
    os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))

log = logging.getLogger(__name__)

_CAPACITY = {"train": 1024, "development": 256, "test": 256}
"""How many encodings are kept in memory, by split. Images to learn from come again and again, so more are kept."""


def make_episode(config: EnvConfig, count: int = 1) -> Episode:
    """Make an `Episode` of `count` rows.

    Raises:
        AlignSAMError: An option has no meaning here, or data or weights are missing or damaged.
    """
    rules = config.rules
    samples = open_samples(config)
    model = _load_model(config)
    store = EmbeddingStore(config.cache_dir)
    store.check()
    if count > 1 or model.decode_precision == "auto":
        calibrate_decoding(model, store.directory)
    branch = preferred_branch(samples) if config.branch == "auto" else config.branch
    given = config.srm if isinstance(config.srm, SRM) else None
    srm_config = given.config if given else config.srm_config
    text_needed = needs_text(branch, rules.label_source, rules.initial_prompts)
    if config.clip is None and srm_config.features != "sam":
        if given or (isinstance(config.srm, Mapping) and "features" in config.srm):
            raise OptionError(
                f"srm.features={srm_config.features!r} needs a CLIP, such as clip='tiny', or the one that a given srm "
                "learned with; srm={'features': 'sam'} needs none."
            )
        warn_of_features(srm_config.features)
        srm_config = replace(srm_config, features="sam")
    clip = _load_clip(config) if text_needed or srm_config.features != "sam" else None
    features = None if srm_config.features == "sam" else clip
    encoded = EncodedDataset(
        samples, model, store, rules.image_size, clip if text_needed else None, features, _CAPACITY[config.split]
    )
    seen = srm_channels(srm_config.features, model, features)
    channels = state_channels(srm_state(rules.state), seen) + (seen if branch == "explicit" else 0)
    if given:
        _check_fit(given, branch, channels, model)
        return Episode(rules, encoded, given, learns=False, count=count)
    labelled = len(samples) if config.split == "train" else config.shots  # what the weights to load have learned from
    srm = SRM(branch, channels, srm_config.for_images(labelled), model.device, seed=0)
    return Episode(rules, encoded, srm, learns=config.split == "train", count=count)


def srm_channels(features: str, model: BatchedSamPredictor, clip: ClipModel | None) -> int:
    """Count the channels that the SRM sees in the place of E(x), by `SRMConfig.features`."""
    own = 0 if clip is None else clip.channels
    return own if features == "clip" else own + model.embedding_shape[0]


def warn_of_features(features: str) -> None:
    """Say in the log that a preset's `features` need a CLIP, and that the SRM sees SAM's embedding instead."""
    log.warning("srm.features=%s needs a CLIP, and there is none: the SRM sees SAM's embedding.", features)


def needs_text(branch: str, label_source: str, initial_prompts: str) -> bool:
    """Tell whether a text guides an episode, by CLIP's map of it."""
    return branch == "explicit" or "clip" in (label_source, initial_prompts)


def open_samples(config: SampleOptions) -> Dataset:
    """Open the test split, or of the training split the few labelled images or all others.

    Raises:
        AlignSAMError: The data set is unknown, or its data are missing or broken.
    """
    dataset, kwargs = config.dataset, dict(config.dataset_kwargs or {})
    skip = config.on_error == "skip"
    if misplaced := kwargs.keys() & {"split", "on_error"}:
        raise OptionError(f"{min(misplaced)} is an option of AlignSAM-v0 itself; take it out of dataset_kwargs.")
    if isinstance(dataset, str):
        samples = load_dataset(dataset, "test" if config.split == "test" else "train", config.on_error, **kwargs)
    elif kwargs:
        raise OptionError(
            f"dataset_kwargs={kwargs} cannot be passed on to a data set that is given as an object; give it by name."
        )
    elif not hasattr(dataset, "ids"):
        raise OptionError(
            f"dataset={dataset!r} is neither a name nor a data set; a folder is dataset='folder' with "
            "dataset_kwargs={'root': <path>}."
        )
    else:
        samples = dataset
    if config.split != "test":
        labelled = draw_shots(samples, config.shots, config.shots_seed, config.shots_per, skip=skip)
        if config.split == "train":
            return labelled
        samples = all_but(samples, labelled)
    return without_broken(samples) if skip else samples


def _load_model(config: EnvConfig) -> BatchedSamPredictor:
    if isinstance(config.sam, str):
        return load_sam(config.sam, config.device, config.precision, config.decode_precision, config.compile)
    if not isinstance(config.sam, BatchedSamPredictor):
        raise OptionError(
            f"sam={config.sam!r}: give the name of a SAM, such as 'tiny', the path of a checkpoint as a text, or a "
            "BatchedSamPredictor."
        )
    return config.sam


def _load_clip(config: EnvConfig) -> ClipModel:
    """Load the CLIP that was asked for by name, or take the given one."""
    if config.clip is None:
        raise OptionError(
            "branch='explicit', and 'clip' as label_source or initial_prompts, need a CLIP, such as clip='tiny'."
        )
    if isinstance(config.clip, str):
        return load_clip(config.clip, config.device)
    if not hasattr(config.clip, "fingerprint"):
        raise OptionError(f"clip={config.clip!r}: give the name of a CLIP, such as 'tiny', or a ClipModel.")
    return config.clip


def _check_fit(srm: SRM, branch: str, channels: int, model: BatchedSamPredictor) -> None:
    if (srm.kind, srm.channels) != (branch, channels):
        raise OptionError(
            f"The given srm is an {srm.kind} branch for states of {srm.channels} channels; this environment needs "
            f"an {branch} one for {channels}. Make it with the preset, state, branch, sam and clip of the environment "
            "that the srm learned in."
        )
    if srm.device != model.device:
        raise OptionError(f"The given srm is on {srm.device}, this environment on {model.device}: give device=….")
