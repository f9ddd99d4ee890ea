"""The options of `AlignSAM-v0`, each declared once: what the models are, what is learned from, the rules, the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from gymnasium.vector import AutoresetMode

from alignsam_gym.data import Dataset
from alignsam_gym.data.samples import ShotsPer
from alignsam_gym.envs.rules import Rules
from alignsam_gym.errors import OptionError, check_choice
from alignsam_gym.foundation.clip_model import ClipModel
from alignsam_gym.foundation.sam.predictor import BatchedSamPredictor, DecodePrecision, Precision
from alignsam_gym.options import Options, Preset, option
from alignsam_gym.srm import SRM, SRMConfig


@dataclass(frozen=True, kw_only=True)
class ModelOptions(Options):
    """Which models an agent is trained with, and meets again in prediction."""

    sam: str | BatchedSamPredictor = option(
        "`tiny`, the embedded model; `vit_b`, `vit_l`, `vit_h`, `vit_t` (MobileSAM), `sam_hq_vit_b`, `_l`, `_h`, or "
        "`sam2.1_hiera_tiny`, `_small`, `_base_plus`, `_large`, once downloaded by `alignsam weights`; the path of a "
        "checkpoint of any of these; or `hf:` and a folder or a repository of the Hugging Face Hub, "
        "`hf:facebook/sam-vit-base`, with SAM, SAM-HQ or SAM 2.1 in the format of `transformers`. Or a "
        "`BatchedSamPredictor`, with its own device and precision.",
        "tiny",
    )
    clip: str | ClipModel | None = option(
        "What reads texts. `tiny`, the embedded model, which knows the embedded data sets' targets, Pascal VOC's "
        "categories and, less well, any everyday noun; an `open_clip` ViT, `ARCHITECTURE/WEIGHTS` as in "
        "`ViT-B-16/openai`; or a `ClipModel`. `None`: there is none, and the SRM sees SAM's embedding alone. It is "
        "loaded only where `branch`, `label_source`, `initial_prompts` or the SRM's `features` need it.",
        "tiny",
    )
    branch: Literal["auto", "implicit", "explicit"] = option(
        "Of the SRM. `implicit`; `explicit`, which is guided by CLIP's map of the sample's text; or `auto`, the one "
        "that the data set prefers (`alignsam_gym.data.preferred_branch`).",
        "auto",
    )
    precision: Precision = option(
        "Of the image encoder's arithmetic. `auto`: bfloat16 on a GPU that has it, else float32.", "auto"
    )
    decode_precision: DecodePrecision = option(
        "Of the mask decoder's arithmetic. `float32`, equal to `SamPredictor`; `bfloat16`, faster where the processor "
        "has it; or `auto`, the faster of the two on this device, as is measured once.",
        "float32",
    )


@dataclass(frozen=True, kw_only=True)
class SampleOptions(Options):
    """Which images are played on."""

    dataset: str | Dataset = option(
        "A name in `alignsam_gym.data.DATASETS`; or an `alignsam_gym.data.Dataset`, any sequence of samples with ids "
        "and a name.",
        "shapes",
    )
    dataset_kwargs: Mapping[str, Any] | None = option(
        'Options of the data set that is called by name, such as `{"root": "~/data"}`.', None
    )
    split: Literal["train", "development", "test"] = option(
        "`train`, the labelled images, on which the SRM learns and prompts begin from the truth; `test`, in which the "
        "SRM is frozen and begins the prompts; or `development`, the same on the images of the training split that "
        "are not labelled ones, to choose settings by.",
        "train",
    )
    shots: int = option(
        "Labelled images drawn from the training split; all if there are no more (§4.1).",
        reason="at least one labelled image is needed",
    )
    shots_per: ShotsPer = option("`dataset`, or `category` for so many of each category.")
    shots_seed: int = option("Seed of that draw.", 0, least=0, reason="seeds are 0 and above")
    on_error: Literal["raise", "skip"] = option(
        "`raise`, or `skip` to go on without samples that cannot be loaded, with a warning for each. All of a test "
        "split are then loaded once ahead.",
        "raise",
    )


@dataclass(frozen=True, kw_only=True)
class EnvConfig(ModelOptions, SampleOptions, Rules):
    """All options of `AlignSAM-v0`.

    Raises:
        OptionError: A value is out of range.
    """

    title: ClassVar[str] = "AlignSAM-v0 (whose dataset_kwargs take those of the data set)"

    preset: Preset = option(
        "Where values come from that are not given. `paper`: the paper's. `best`: the best measured so far, the game "
        "that `alignsam train` trains.",
        "paper",
    )
    srm: SRM | Mapping[str, Any] | None = option(
        "Options of the SRM (`alignsam_gym.srm.SRMConfig`), or a trained `alignsam_gym.srm.SRM`, which is used frozen: "
        '`gym.make("AlignSAM-v0", split="test", srm=training_env.unwrapped.srm)`. The test split warns where an SRM '
        "that has learned nothing is to label prompts.",
        None,
    )
    observation: Literal["state", "patches", "cells", "evidence"] = option(
        "What `reset` and `step` return; see *Observation space*.", "state"
    )
    render_mode: Literal["rgb_array", "human"] | None = option("What `render` does; see there.", None)
    compile: bool = option("Whether `torch.compile` makes the decoder.", False)
    device: str | torch.device = option(
        "`cpu`, `cuda`, `cuda:1`, `mps`, …; or `auto`: CUDA, else Apple's MPS where it answers as the CPU does, else "
        "the CPU.",
        "auto",
    )
    cache_dir: str | Path | None = option(
        "Where embeddings are kept; by default `$ALIGNSAM_CACHE` or the user's cache.", None
    )

    @property
    def rules(self) -> Rules:
        """The rules alone, with what ``auto`` means in this split."""
        return Rules(**{each.name: getattr(self, each.name) for each in fields(Rules)}).for_split(self.split)

    @property
    def srm_config(self) -> SRMConfig:
        """The hyperparameters of a new SRM.

        Raises:
            OptionError: `srm` is no mapping of its options.
        """
        given = {} if self.srm is None else self.srm
        if not isinstance(given, Mapping):
            raise OptionError(f"srm={given!r}: give its options by name, or a trained SRM.")
        return SRMConfig.of(given, self.preset)


@dataclass(frozen=True, kw_only=True)
class VectorEnvConfig(EnvConfig):
    """The options of the vector form of `AlignSAM-v0`: those of `EnvConfig`, and how many episodes there are.

    Raises:
        OptionError: A value is out of range.
    """

    num_envs: int = option("Episodes at once.", 1, reason="there must be at least one")
    autoreset_mode: str | AutoresetMode = option(
        "One of `gymnasium.vector.AutoresetMode`, or its value: when a row that has ended begins anew.",
        AutoresetMode.NEXT_STEP,
    )
    max_episode_steps: int | None = option(
        "What `gym.make_vec` passes; the smaller of it and `max_steps` holds.",
        None,
        reason="an episode needs at least one step",
    )

    @property
    def mode(self) -> AutoresetMode:
        """The autoreset mode as Gymnasium has it."""
        value = getattr(self.autoreset_mode, "value", self.autoreset_mode)
        return AutoresetMode(check_choice("autoreset_mode", value, tuple(mode.value for mode in AutoresetMode)))

    @property
    def rules(self) -> Rules:
        """The rules alone, with the smaller of the two limits on an episode."""
        limit = self.max_steps if self.max_episode_steps is None else min(self.max_steps, self.max_episode_steps)
        return replace(super().rules, max_steps=limit)
