"""Hyperparameters of the semantic recalibration module."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from alignsam_gym.errors import OptionError
from alignsam_gym.options import Options, option
from alignsam_gym.srm.branches import NORM_GROUPS

BLOCKS, BLOCKS_FOR_FEW, FEW_IMAGES = 4, 2, 10
"""What `SRMConfig.blocks` becomes by the number of labelled images, and from how many on they are not few."""


@dataclass(frozen=True, kw_only=True)
class SRMConfig(Options):
    """Hyperparameters of the SRM (config group ``srm``), the paper's where none are given.

    Attributes:
        of_maps: Those that the maps of trained weights depend on. The others are for learning.

    Raises:
        OptionError: A value is out of range.
    """

    group: ClassVar[str] = "srm"
    title: ClassVar[str] = "srm"
    of_maps: ClassVar[tuple[str, ...]] = ("features", "width", "blocks", "dilated", "folds", "clip_logit_weight")

    width: int = option(
        f"Channels of the branch, a multiple of {NORM_GROUPS}. [ours]", most=1024, reason="it must be at least 1"
    )
    blocks: int | None = option(
        f"Convolution blocks of the implicit branch (§3.3 has two). None: {BLOCKS}, but {BLOCKS_FOR_FEW} if fewer than "
        f"{FEW_IMAGES} images are labelled, which do not tell what far cells have to do with the target. [ours]",
        most=16,
        reason="it must be at least 1, or null to go by the number of labelled images",
    )
    dilated: bool = option(
        "Whether the dilation of the implicit branch's blocks doubles from one to the next: 1, 2, 4, …. Four such "
        "blocks see 31 cells a side, two others 5: what is meant, glass for instance, may only be told by what is "
        "around it. [ours]"
    )
    learning_rate: float = option("Learning rate of Adam (1e-4 in §4.1).")
    features: Literal["sam", "clip", "both"] = option(
        "What the SRM sees in the place of E(x). `sam`: SAM's embedding, as in the paper; it says where things end and "
        "little about what they are. `clip`: the dense features of the environment's CLIP, with the embedded one those "
        "of ImageNet's backbone. `both`: side by side. Without a CLIP it is `sam` if it is not given, and the log says "
        "so. The agent and the observation see SAM's embedding always. [ours]"
    )
    updates: int | None = option(
        "q, gradient steps after every action; none for §4.1's: 1 for the implicit branch and 5 for the explicit. With "
        "several environments an action is one of each, and a step is made for every `batch_size` of them. [ours]",
        reason="it must be at least 1, or null for the paper's",
    )
    final_updates: int = option(
        "Gradient steps of the branches that `alignsam train` keeps. After the training they begin anew, and each "
        "learns from all labelled images, in states that the agent meets (`refit_srm`). 0: the branches of the "
        "training are kept, each of which has learned from some folds only. [ours]",
        least=0,
        reason="it must be a count of steps, or 0 for none",
    )
    batch_size: int = option("States in a gradient step. [ours]", reason="it must be at least 1")
    folds: int = option(
        "Cross-fitting. With k > 1 the labelled images are split into k folds, and k branches learn, each from all "
        "folds but one. In training, the branch that has not seen an image draws its map, so that the agent meets "
        "labels as wrong as they will be on new images; elsewhere the map is the branches' mean. 1 is the paper's "
        "single branch. [ours]",
        most=64,
        reason="it must be at least 1",
    )
    full_mask_every: int = option(
        "One state in so many, by row and step, has its mask replaced by ones, as in the state from which an "
        "evaluation episode takes its first pair of prompts; 0 for none. In a single row the first is after so many "
        "steps. [ours]",
        least=0,
        reason="it must be a count of states, or 0 for none",
    )
    dropout: float = option("Probability that a channel of a state's embedding is left out of a gradient step. [ours]")
    early_stopping_interval: int = option(
        "Early stopping. Each fold has a branch that learns and a branch that draws maps. After every so many states "
        "the learning branch is measured on its fold, which it has not seen; if its IoU is the highest so far, the "
        "drawing branch takes its weights. Before the first measurement it always takes them. With 0, or one fold, the "
        "learning branch draws the maps itself. [ours]",
        least=0,
        reason="it must be a count of states, or 0 for none",
    )
    clip_logit_weight: float = option(
        "How much of an explicit branch's map is CLIP's. The log-odds of M_c, times this weight, are added to what the "
        "branch says, which learns without them: one of the two experts has not seen the few labelled images and "
        "cannot overfit to them. 0 for the branch alone. [ours]",
        most=1000,
    )

    def for_images(self, count: int) -> SRMConfig:
        """Decide `blocks` by the number of labelled images, if it is None."""
        if self.blocks is not None:
            return self
        return replace(self, blocks=BLOCKS_FOR_FEW if count < FEW_IMAGES else BLOCKS)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, fits, wanted in (
            ("width", self.width % NORM_GROUPS == 0, f"a multiple of {NORM_GROUPS}"),
            ("learning_rate", self.learning_rate > 0, "above 0"),
            ("dropout", 0 <= self.dropout < 1, "at least 0 and below 1"),
            ("clip_logit_weight", self.clip_logit_weight >= 0, "at least 0"),
        ):
            if not fits:
                raise OptionError(f"srm.{name}={getattr(self, name)}: it must be {wanted}.")
