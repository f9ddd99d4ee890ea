"""From the environment's keywords to an `Episode`, for the single and the vector environment alike."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from alignsam_gym.data import Augmented, Dataset, draw_shots, load_dataset, preferred_branch, without_broken
from alignsam_gym.envs.episode import INITIAL_PROMPTS, LABEL_SOURCES, REWARDS, Episode, Rules
from alignsam_gym.envs.grid import PatchGrid
from alignsam_gym.errors import OptionError, check_choice, check_count, check_switch
from alignsam_gym.foundation.calibration import calibrate
from alignsam_gym.foundation.encoded import EncodedDataset
from alignsam_gym.foundation.sam import PromptableModel, load_sam
from alignsam_gym.foundation.store import EmbeddingStore
from alignsam_gym.srm import BRANCHES, SRM, SRMConfig
from alignsam_gym.state import STATES, srm_state, state_channels

if TYPE_CHECKING:
    from alignsam_gym.foundation.clip_surgery import TextMaps

if hasattr(os, "register_at_fork"):  # a forked worker that uses OpenMP waits for ever for its parent's threads
    os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))


def make_episode(
    count: int,
    *,
    dataset: str | Dataset = "shapes",
    split: str = "train",
    sam: str | PromptableModel = "tiny",
    precision: str = "auto",
    decode_precision: str = "float32",
    compile: bool = False,
    clip: str | TextMaps = "tiny",
    branch: str = "auto",
    label_source: str = "srm",
    image_size: int = 800,
    patch_size: int = 80,
    max_steps: int = 15,
    initial_prompts: str = "auto",
    reward: str | Mapping[str, float] = "foreground",
    state: str = "product",
    revisit: str = "allow",
    stop: bool = False,
    mask_prompt: bool = False,
    cells: int = 64,
    shots: int = 50,
    shots_seed: int = 0,
    shots_per: str = "dataset",
    augment: int = 1,
    on_error: str = "raise",
    device: str | torch.device = "auto",
    cache_dir: str | Path | None = None,
    srm: SRM | Mapping[str, Any] | None = None,
    **dataset_options: Any,
) -> Episode:
    """An `Episode` of `count` rows. `AlignSAMEnv` documents the keywords. Raises AlignSAMError."""
    check_choice("branch", branch, ("auto", *BRANCHES))
    check_choice("label_source", label_source, LABEL_SOURCES)
    check_choice("initial_prompts", initial_prompts, ("auto", *INITIAL_PROMPTS))
    check_choice("state", state, STATES)
    check_switch("compile", compile)
    training = split == "train"
    if not isinstance(reward, Mapping):
        reward = {check_choice("reward", reward, REWARDS): 1.0}
    rules = Rules(
        grid=PatchGrid(image_size, patch_size),
        cells=cells,
        max_steps=max_steps,
        label_source=label_source,
        initial_prompts=initial_prompts if initial_prompts != "auto" else ("truth" if training else "srm"),
        reward=dict(reward),
        state=state,
        revisit=revisit,
        stop=stop,
        mask_prompt=mask_prompt,
    )
    samples = open_samples(dataset, split, shots, shots_seed, shots_per, on_error, **dataset_options)
    if training and augment != 1:
        samples = Augmented(samples, augment, shots_seed)
    model = load_sam(sam, device, precision, decode_precision, compile) if isinstance(sam, str) else sam
    store = EmbeddingStore(cache_dir)
    if check_count("num_envs", count, "there must be at least one") > 1:
        calibrate(model, store.directory)
    kind = preferred_branch(samples) if branch == "auto" else branch
    reader = _clip(clip, device) if needs_text(kind, label_source, rules.initial_prompts) else None
    capacity = 1024 if training else 256  # what is learned from comes again and again
    encoded = EncodedDataset(samples, model, store, image_size, reader, capacity)
    channels = state_channels(srm_state(state), model.embedding_shape[0])
    if kind == "explicit":
        channels += model.embedding_shape[0]
    if isinstance(srm, SRM):
        if (srm.kind, srm.channels) != (kind, channels):
            raise OptionError(
                f"The given srm is an {srm.kind} branch for states of {srm.channels} channels; this environment needs "
                f"an {kind} one for {channels}."
            )
        if srm.device != model.device:
            raise OptionError(f"The given srm is on {srm.device}, this environment on {model.device}: give device=….")
        return Episode(rules, encoded, srm, learns=False, count=count)
    fresh = SRM(kind, channels, SRMConfig.of(srm or {}), model.device, seed=0)
    return Episode(rules, encoded, fresh, learns=training, count=count)


def needs_text(branch: str, label_source: str, initial_prompts: str) -> bool:
    """Whether a text guides an episode, by CLIP's map of it."""
    return branch == "explicit" or "clip" in (label_source, initial_prompts)


def open_samples(
    dataset: str | Dataset,
    split: str,
    shots: int,
    shots_seed: int,
    shots_per: str,
    on_error: str,
    **dataset_options: Any,
) -> Dataset:
    """The test split, or the few labelled images of the training split. Raises AlignSAMError."""
    check_choice("split", split, ("train", "test"))
    check_choice("on_error", on_error, ("raise", "skip"))
    if isinstance(dataset, str):
        samples = load_dataset(dataset, split, on_error, **dataset_options)
    elif dataset_options:
        raise OptionError(
            f"{', '.join(sorted(dataset_options))} cannot be passed on to a data set that is given as an object."
        )
    elif not hasattr(dataset, "ids"):
        raise OptionError(
            f"dataset={dataset!r} is neither a name nor a data set; a folder is dataset='folder' with root=<path>."
        )
    else:
        samples = dataset
    if split == "test":
        return without_broken(samples) if on_error == "skip" else samples
    check_count("shots", shots, "at least one labelled image is needed")
    check_count("shots_seed", shots_seed, "seeds are 0 and above", least=0)
    return draw_shots(samples, shots, shots_seed, shots_per, skip=on_error == "skip")


def _clip(clip: str | TextMaps | None, device: str | torch.device) -> TextMaps:
    """A CLIP that was asked for by name or given. open_clip takes seconds to import, so only who needs it waits."""
    if clip is None:
        raise OptionError(
            "branch='explicit', and 'clip' as label_source or initial_prompts, need a CLIP, such as clip='tiny'."
        )
    if not isinstance(clip, str):
        return clip
    from alignsam_gym.foundation.clip_surgery import load_clip

    return load_clip(clip, device)
