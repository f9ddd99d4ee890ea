"""Policies of sb3-contrib's algorithms. Imported only when one is chosen, as the package is an optional extra."""

from __future__ import annotations

from typing import Any

import torch
from sb3_contrib import QRDQN
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from sb3_contrib.qrdqn.policies import QRDQNPolicy, QuantileNetwork
from torch import Tensor, nn

from alignsam_gym.agents.networks import RecurrentHead, build_head
from alignsam_gym.agents.policies import PromptPolicyMixin, draw_or_likeliest
from alignsam_gym.agents.q_policies import MaskedExplorationMixin, QPolicyMixin


class MaskablePromptPolicy(PromptPolicyMixin, MaskableActorCriticPolicy):  # type: ignore[misc]
    """The policy of MaskablePPO. It avoids visited patches without masks, and obeys the masks that it is given."""


class RecurrentPromptPolicy(PromptPolicyMixin, RecurrentActorCriticPolicy):
    """The policy of RecurrentPPO, with a `RecurrentHead`. Its LSTM reads all features."""

    recurrent = True

    def _build_mlp_extractor(self) -> None:
        """SB3's hook, as in `PromptPolicyMixin`."""
        head = build_head(self.head_class, self.features_extractor, self.action_space)
        self.mlp_extractor = RecurrentHead(head, self.lstm_output_dim)  # type: ignore[assignment]

    def _process_sequence(  # type: ignore[override]
        self, features: Tensor, lstm_states: tuple[Tensor, Tensor], episode_starts: Tensor, lstm: nn.LSTM
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """sb3-contrib's hook that runs the LSTM. Keeps the features in front of its output, for the head."""
        memory, lstm_states = super()._process_sequence(features, lstm_states, episode_starts, lstm)  # type: ignore[assignment]
        return torch.cat([features, memory], dim=1), lstm_states

    @torch.no_grad()
    def choose_actions(
        self, observation: Any, memory: Any, begins: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Any]:
        """Choose an action for each row, as `PromptPolicyMixin.choose_actions`. The memory is the LSTM's two states."""
        tensors: Any = self.obs_to_tensor(observation)[0]
        if memory is None:
            layers, _, hidden = self.lstm_hidden_state_shape
            memory = (torch.zeros(layers, len(begins), hidden, device=self.device),) * 2
        distribution, memory = self.get_distribution(tensors, memory, begins.float())
        return draw_or_likeliest(distribution, generator), memory


class QuantilePolicy(QPolicyMixin, QRDQNPolicy):
    """The policy of QR-DQN: it chooses the patch with the highest mean of its return's quantiles."""

    def make_quantile_net(self) -> QuantileNetwork:
        """sb3-contrib's hook, called for the online and for the target network."""
        network = super().make_quantile_net()
        network.quantile_net = self.make_action_values(network.features_extractor, self.n_quantiles)  # type: ignore[assignment]
        return network


class PromptQRDQN(MaskedExplorationMixin, QRDQN):
    """QR-DQN that never explores a forbidden patch."""
