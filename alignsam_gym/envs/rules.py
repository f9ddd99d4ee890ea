"""The options of the prompting game. `Episode`, in ``episode.py``, plays by them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, Self, get_args

import numpy as np

from alignsam_gym.envs.patch_grid import PatchGrid
from alignsam_gym.errors import OptionError, check_choice, check_number
from alignsam_gym.options import Options, option
from alignsam_gym.state import StateKind

LabelSource = Literal["srm", "last", "clip", "positive", "oracle"]
InitialPrompts = Literal["auto", "truth", "srm", "clip"]
AnswerName = Literal["auto", "sam", "fused"]
RewardName = Literal["foreground", "delta_iou"]


@dataclass(frozen=True, kw_only=True)
class Rules(Options):
    """What kind of game is played. The paper's rules are the default.

    Raises:
        OptionError: A value is out of range.
    """

    image_size: int = option(
        "Side of the square frame that every image is resized to, in pixels (§4.1).",
        most=4096,
        reason="there must be at least one pixel",
    )
    patch_size: int = option(
        "Side of a patch, in pixels of the frame (§4.1).", most=4096, reason="there must be at least one pixel"
    )
    max_steps: int = option(
        "T, prompts after the initial pair (§4.1).", most=1000, reason="an episode needs at least one step"
    )
    initial_prompts: InitialPrompts = option(
        "Where the first two prompts come from. `truth`: a random foreground and a random background pixel of the "
        "ground truth (§3.2). `srm`: the SRM's most and least likely point (§3.3). `clip`: those of CLIP's map. "
        "`auto`: `truth` in the training split, else `srm`."
    )
    label_source: LabelSource = option(
        "Who labels a chosen point (Table 8). `srm`; `last`: SAM's last mask; `clip`: CLIP's map of the sample's text; "
        "`positive`: always foreground; `oracle`: the ground truth."
    )
    reward: RewardName | Mapping[str, float] = option(
        "`foreground`: +1 if the patch's centre is foreground, else −1 (§3.2). `delta_iou`: the change of the answer's "
        "IoU. Or a mapping of both names to weights."
    )
    state: StateKind = option(
        "What the agent sees. `product`: E(x) · M (Eq. 4). `concat`: E(x), E(x) · M and M. `guided`: E(x) · M, M and "
        "the SRM's map."
    )
    revisit: Literal["allow", "forbid"] = option(
        "`allow` (the paper), or `forbid`: `action_masks` excludes patches already chosen."
    )
    stop: bool = option("Whether the agent may stop prompting. The paper's may not.")
    answer: AnswerName = option(
        "What is scored, rewarded, predicted, shown and exported. `sam`: SAM's logits, as in the paper. `fused`: SAM's "
        "logits and the SRM's map together (`fuse_answers`). `auto`: `fused` in training. At its end `alignsam "
        "train` compares both on the labelled images and keeps the better (`better_answer`). The agent always observes "
        "SAM's. [ours]"
    )
    srm_grid_size: int = option(
        'The SRM, `observation="patches"` and `observation="cells"` see the state on a grid of at most so many cells a '
        "side, each the mean of several where the embedding has more. 64, SAM's own, is the paper's; 32 costs a "
        "quarter.",
        most=1024,
        reason="the SRM needs at least one",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.grid  # which checks that patches fit
        names = get_args(RewardName)
        if isinstance(self.reward, str):
            check_choice("reward", self.reward, names)
        elif not isinstance(self.reward, Mapping):
            raise OptionError(
                f"reward={self.reward!r}: give one of {', '.join(names)}, or a mapping of them to weights."
            )
        elif not self.reward:
            raise OptionError(f"reward is empty; weigh at least one of {', '.join(names)}.")
        for name, weight in self.reward_weights.items():
            check_number(f"reward.{check_choice('reward', name, names)}", weight)

    @property
    def needs_srm(self) -> bool:
        """Whether the SRM has a say in prompts, labels or answers."""
        return "srm" in (self.label_source, self.initial_prompts) or self.answer != "sam"

    @cached_property
    def grid(self) -> PatchGrid:
        """The patches of the frame."""
        return PatchGrid(self.image_size, self.patch_size)

    @property
    def reward_weights(self) -> Mapping[str, float]:
        """The weight of each kind of reward."""
        return {self.reward: 1.0} if isinstance(self.reward, str) else self.reward

    def rewards(self, hits: np.ndarray, gains: np.ndarray) -> np.ndarray:
        """Compute the rewards of B prompts, on the host, as a device may lack float64.

        Args:
            hits: bool (B,), whether each prompt is on the foreground.
            gains: float32 (B,), the change of IoU that each made.

        Returns:
            float64 (B,).
        """
        by_name = {"foreground": hits * 2.0 - 1, "delta_iou": gains.astype(np.float64)}
        weighted = [weight * by_name[name] for name, weight in self.reward_weights.items()]
        return np.asarray(np.sum(weighted, axis=0))

    def for_split(self, split: str) -> Self:
        """Decide what ``initial_prompts="auto"`` means in a split."""
        if self.initial_prompts != "auto":
            return self
        return replace(self, initial_prompts="truth" if split == "train" else "srm")
