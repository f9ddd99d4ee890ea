"""Learning what actions are worth: the Q-network of DQN, and how its learner explores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import DQN
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.dqn.policies import DQNPolicy, QNetwork
from torch import Tensor, nn

from alignsam_gym.agents.heads import Head, MakeHead, head_of

if TYPE_CHECKING:
    _Learner = OffPolicyAlgorithm
    _Policy = DQNPolicy
else:
    _Learner = _Policy = object  # sb3-contrib's have their own bases


class ActionValues(nn.Module):
    """Q(s, a) as V(s) and the advantage of a over the mean of all actions; visited patches' are very low. [ours]

    head: gives advantages, and what V is read from. temperature: the return that one of `PatchHead`'s first scores is
    worth.

    Output: float32 (B, outputs · actions), as SB3's Q-networks end.
    """

    def __init__(self, head: Head, temperature: float) -> None:
        super().__init__()
        self.head = head
        self.value = nn.Linear(head.latent_dim_vf, head.outputs)
        head.initialize(temperature)

    def forward(self, features: Tensor) -> Tensor:
        advantages = self.head.scores(features)
        values = self.value(self.head.forward_critic(features))[:, :, None]
        return self.head.forbid(values + advantages - advantages.mean(2, keepdim=True), features).flatten(1)


class QPolicyMixin(_Policy):
    """What a policy of SB3 that learns what actions are worth becomes with a `Head`.

    head: as of `alignsam_gym.agents.policies.PromptPolicyMixin`. temperature: of `ActionValues`.
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Discrete,
        lr_schedule: Schedule,
        *,
        head: MakeHead,
        temperature: float,
        **kwargs: Any,
    ) -> None:
        self.make_head, self.temperature = head, temperature
        super().__init__(observation_space, action_space, lr_schedule, net_arch=[], **kwargs)

    def action_values(self, extractor: nn.Module, outputs: int = 1) -> ActionValues:
        """A new network that reads the extractor's features; outputs: for each action."""
        head = head_of(self.make_head, extractor, self.action_space, outputs)
        return ActionValues(head, self.temperature).to(self.device)


class QPolicy(QPolicyMixin, DQNPolicy):
    """Chooses the patch of the highest Q."""

    def make_q_net(self) -> QNetwork:
        network = super().make_q_net()
        network.q_net = self.action_values(network.features_extractor)  # type: ignore[assignment]
        return network


class MaskedExplorationMixin(_Learner):
    """ε-greedy exploration among the actions that ``action_masks`` leaves, each environment for itself. [ours]

    SB3's own tosses one coin for all environments, and draws from all actions.
    """

    def _sample_action(
        self, learning_starts: int, action_noise: Any = None, n_envs: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        assert self.env is not None
        assert self._last_obs is not None
        greedy, _ = self.policy.predict(self._last_obs, deterministic=True)
        allowed = torch.from_numpy(np.stack(self.env.env_method("action_masks")))
        drawn = allowed.float().multinomial(1)[:, 0].numpy()
        rate = 1.0 if self.num_timesteps < learning_starts else self.exploration_rate  # type: ignore[attr-defined]
        actions = np.where(torch.rand(n_envs).numpy() < rate, drawn, greedy)
        return actions, actions


class PromptDQN(MaskedExplorationMixin, DQN):
    """DQN that never explores a forbidden patch."""
