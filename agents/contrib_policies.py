"""The policies of sb3-contrib's algorithms. Imported only where one is chosen: the package is an extra."""

from __future__ import annotations

import torch
from sb3_contrib import QRDQN
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from sb3_contrib.qrdqn.policies import QRDQNPolicy, QuantileNetwork
from torch import Tensor, nn

from alignsam_gym.agents.heads import Head, head_of
from alignsam_gym.agents.policies import PromptPolicyMixin
from alignsam_gym.agents.q_policies import MaskedExplorationMixin, QPolicyMixin


class MaskablePromptPolicy(PromptPolicyMixin, MaskableActorCriticPolicy):  # type: ignore[misc]
    """MaskablePPO's. It needs no masks to leave visited patches alone, but heeds those that it is given."""


class _RecurrentHead(nn.Module):
    """A head whose logits and value what an LSTM remembers adds to.

    Input: the head's features with the memory appended, (B, features + hidden).
    """

    def __init__(self, head: Head, hidden: int) -> None:
        super().__init__()
        self.head, self.hidden = head, hidden
        self.latent_dim_pi, self.latent_dim_vf = head.latent_dim_pi, head.latent_dim_vf + hidden
        self.remembered = nn.Linear(hidden, head.latent_dim_pi)

    def forward_actor(self, latent: Tensor) -> Tensor:
        features, memory = latent[:, : -self.hidden], latent[:, -self.hidden :]
        return self.head.forbid(self.head.scores(features)[:, 0] + self.remembered(memory), features)

    def forward_critic(self, latent: Tensor) -> Tensor:
        features, memory = latent[:, : -self.hidden], latent[:, -self.hidden :]
        return torch.cat([self.head.forward_critic(features), memory], dim=1)

    def initialize(self) -> None:
        self.head.initialize()
        nn.init.orthogonal_(self.remembered.weight, gain=0.01)


class RecurrentPromptPolicy(PromptPolicyMixin, RecurrentActorCriticPolicy):
    """RecurrentPPO's: an LSTM reads all features; what it remembers adds to each action's logit. [ours]

    So the patches' own logits stay on their grid, as without memory.
    """

    memory = True

    def _build_mlp_extractor(self) -> None:
        head = head_of(self.make_head, self.features_extractor, self.action_space)
        self.mlp_extractor = _RecurrentHead(head, self.lstm_output_dim)  # type: ignore[assignment]

    def _process_sequence(  # type: ignore[override]
        self, features: Tensor, lstm_states: tuple[Tensor, Tensor], episode_starts: Tensor, lstm: nn.LSTM
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        memory, lstm_states = super()._process_sequence(features, lstm_states, episode_starts, lstm)  # type: ignore[assignment]
        return torch.cat([features, memory], dim=1), lstm_states


class QuantilePolicy(QPolicyMixin, QRDQNPolicy):
    """Chooses the patch with the highest mean of the quantiles of its return."""

    def make_quantile_net(self) -> QuantileNetwork:
        network = super().make_quantile_net()
        network.quantile_net = self.action_values(network.features_extractor, self.n_quantiles)  # type: ignore[assignment]
        return network


class PromptQRDQN(MaskedExplorationMixin, QRDQN):
    """QR-DQN that never explores a forbidden patch."""
