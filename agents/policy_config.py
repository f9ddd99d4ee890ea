"""Options of the agent's network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from alignsam_gym.errors import OptionError
from alignsam_gym.options import Options, option

PRETRAINED_WIDTH = 48
"""Of the shipped policy."""


@dataclass(frozen=True, kw_only=True)
class PolicyConfig(Options):
    """The agent's network (config group ``policy``).

    Raises:
        OptionError: A value is out of range.
    """

    group: ClassVar[str] = "policy"
    title: ClassVar[str] = "policy"

    network: Literal["cnn", "full_cnn", "patch", "evidence"] = option(
        "`patch`: one score a patch, by convolutions that stay on the patch grid. `cnn`: the usual CNN of "
        "Stable-Baselines3, flattened. Both see the state's means over patches. `full_cnn`: a flattened CNN of the "
        "whole state, on the SRM's grid, for `ppo` and `a2c`. `evidence`: one score a patch, from what SAM and "
        "the SRM say of it, without any embedding. [ours]",
        required=True,
    )
    width: int = option("Channels of a layer.", required=True, most=1024, reason="there must be at least one")
    init: Literal["none", "pretrained"] = option(
        "Where learning begins. `none`: random weights. `pretrained`: with `network=evidence`, the shipped policy, "
        "which has learned from other tasks what a prompt gains. [ours]",
        "none",
    )
    kl_coef: float = option(
        "With `init=pretrained`, for PPO and A2C: the weight in the loss of the Kullback–Leibler divergence from the "
        "policy that learning began with. `agent.ent_coef` takes it from here. [ours]",
        0.0,
        least=0,
        reason="the divergence is to be small",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.init == "pretrained" and (self.network, self.width) != ("evidence", PRETRAINED_WIDTH):
            raise OptionError(
                f"policy.init=pretrained has weights for network=evidence of width {PRETRAINED_WIDTH} alone; take "
                "policy=evidence, or init=none."
            )
        if self.init == "none" and self.kl_coef:
            raise OptionError(
                f"policy.kl_coef={self.kl_coef} is for a pretrained policy; it must be 0 with policy.init=none."
            )
