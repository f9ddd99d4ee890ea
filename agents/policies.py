"""SB3's actor–critic policies over patches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import Schedule
from torch import nn

from alignsam_gym.agents.heads import MakeHead, head_of

if TYPE_CHECKING:
    _Base = ActorCriticPolicy
else:
    _Base = object  # sb3-contrib's actor–critics have no base in common with it


class PromptPolicyMixin(_Base):
    """What an actor–critic policy of SB3 becomes with a `Head`: π_θ and V_θ of Eq. 5–10.

    Patches that the observation marks as visited get no probability.

    head: makes it from the features extractor and the number of actions. memory: whether an action depends on earlier
    states of its episode.
    """

    memory = False

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        *,
        head: MakeHead,
        **kwargs: Any,
    ) -> None:
        self.make_head = head
        super().__init__(observation_space, action_space, lr_schedule, **kwargs)

    def _build_mlp_extractor(self) -> None:
        self.mlp_extractor = head_of(self.make_head, self.features_extractor, self.action_space)  # type: ignore[assignment]

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        # The head gives the logits already: nothing learnt comes after it.
        self.action_net = nn.Identity()
        self.mlp_extractor.initialize()  # type: ignore[operator]
        optimizer: Any = self.optimizer_class
        self.optimizer = optimizer(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)


class PromptPolicy(PromptPolicyMixin, ActorCriticPolicy):
    """The policy of PPO and A2C."""
