"""The SRM that a trained agent keeps: every branch learns from all labelled images. [ours; srm.final_updates]"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from alignsam_gym.envs.episode import Episode
from alignsam_gym.envs.srm_examples import coarse_labels, coarse_similarity, semantics_of
from alignsam_gym.foundation.encoding.encoded_dataset import EncodedSample
from alignsam_gym.rows import index_on
from alignsam_gym.srm import SRM
from alignsam_gym.state import make_srm_state
from alignsam_gym.transforms import resize_map

log = logging.getLogger(__name__)

_LOADED, _STEPS_WITH_THE_SAME = 64, 50
"""Images whose features are in memory at once, some megabytes each, and gradient steps before others are loaded."""


def refit_srm(episode: Episode, masks: Tensor, seed: int) -> None:
    """Train the branches anew, each from all labelled images, for `SRMConfig.final_updates` gradient steps.

    In training no branch may learn from the images that it labels prompts on, so that each learns from some folds only.
    On new images all may have learned from everything. They learn from states that the agent meets. One state in
    `SRMConfig.full_mask_every` has M = 1.

    Args:
        episode: Of the training split, after the training. Its SRM's branches get the new weights.
        masks: Of those states, `LabelledPlay.masks`.
        seed: Of the initial weights, and of the draws of images and states.
    """
    old, encoded = episode.srm, episode.encoded
    config = replace(old.config, early_stopping_interval=0, updates=1)
    new = SRM(old.kind, old.channels, config, old.device, seed)
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, config.final_updates, _STEPS_WITH_THE_SAME):
        loaded = torch.randperm(len(encoded), generator=generator)[:_LOADED]
        samples = encoded.fetch(loaded.tolist())
        semantics, labels = _semantics(episode, samples), coarse_labels(samples, masks.shape[2:])
        similarity = coarse_similarity(samples, masks.shape[2:]) if new.kind == "explicit" else None
        for step in range(start, min(start + _STEPS_WITH_THE_SAME, config.final_updates)):
            rows = torch.randint(len(loaded), (config.batch_size,), generator=generator)
            prompts = torch.randint(masks.shape[1], (config.batch_size,), generator=generator)
            drawn = masks[loaded[rows], prompts].to(old.device).float()
            if config.full_mask_every:
                drawn[-step * config.batch_size % config.full_mask_every :: config.full_mask_every] = 1.0
            there = index_on(old.device, rows)
            text = None if similarity is None else similarity[there]
            state = make_srm_state(episode.rules.state, semantics, drawn, rows, text)
            new.learn(state, *(label[there] for label in labels))
    old.members.load_state_dict(new.members.state_dict())
    log.info("the SRM's branches have learned anew, each from all %d labelled images", len(encoded))


def _semantics(episode: Episode, samples: Sequence[EncodedSample]) -> Tensor:
    """Collect what the SRM sees of images, float32 (B, F, g, g)."""
    cells, features = episode.mask.shape[1:], episode.srm.config.features
    seen = [semantics_of(sample, resize_map(sample.embedding, cells), features) for sample in samples]
    return torch.stack(seen).contiguous(memory_format=torch.channels_last)
