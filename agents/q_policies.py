"""Policies and exploration of the algorithms that learn action values: DQN, and QR-DQN in `contrib_policies`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import DQN
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.dqn.policies import DQNPolicy, QNetwork
from torch import Tensor, nn

from alignsam_gym.agents.networks import Head, build_head, forbidden_actions

if TYPE_CHECKING:
    _Learner = OffPolicyAlgorithm
    _Policy = DQNPolicy
else:
    _Learner = _Policy = object  # sb3-contrib's QR-DQN does not derive from SB3's DQN


class ActionValues(nn.Module):
    """Q(s, a) = V(s) + A(s, a) − mean of A(s, ·) over all actions, a dueling network. [ours]

    Visited patches get −1e8, as `Head.mask_visited` has it. Input: the extractor's features (B, features_dim).
    Output: float32 (B, outputs · actions), the shape that SB3's Q-networks end with.

    Args:
        head: Gives the advantages A and the features that V is computed from.
    """

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head
        self.value = nn.Linear(head.latent_dim_vf, head.outputs)
        head.initialize()

    def forward(self, features: Tensor) -> Tensor:
        """Return Q of a batch."""
        advantages = self.head.scores(features)
        values = self.value(self.head.forward_critic(features))[:, :, None]
        q = values + advantages - advantages.mean(2, keepdim=True)
        return self.head.mask_visited(q, features).flatten(1)


class QPolicyMixin(_Policy):
    """Makes a Q-learning policy of SB3 use a `Head`, through `ActionValues`.

    Args:
        observation_space: The space of ``observation="patches"``.
        action_space: The patches, and perhaps stopping.
        lr_schedule: As SB3 passes it.
        head: The class of the head.
        **kwargs: Keywords of the SB3 policy.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Discrete,
        lr_schedule: Schedule,
        *,
        head: type[Head],
        **kwargs: Any,
    ) -> None:
        self.head_class = head  # SB3's constructor already builds the networks
        super().__init__(observation_space, action_space, lr_schedule, net_arch=[], **kwargs)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        """SB3's hook for the keywords that a policy's own ``save`` keeps."""
        parameters = super()._get_constructor_parameters() | {"head": self.head_class}
        del parameters["net_arch"]  # which the constructor sets itself
        return parameters

    def make_action_values(self, extractor: nn.Module, outputs: int = 1) -> ActionValues:
        """Make a new network that reads the features of `extractor`; `outputs` is the number of values an action."""
        head = build_head(self.head_class, extractor, self.action_space, outputs)
        return ActionValues(head).to(self.device)

    @torch.no_grad()
    def choose_actions(
        self, observation: Any, memory: Any, begins: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Any]:
        """Choose the action of the highest Q in each row, whatever the generator; see `PromptPolicyMixin`."""
        tensors, _ = self.obs_to_tensor(observation)
        return self._predict(tensors, deterministic=True), None


class QPolicy(QPolicyMixin, DQNPolicy):
    """The policy of DQN: it chooses the patch of the highest Q."""

    def make_q_net(self) -> QNetwork:
        """SB3's hook, called for the online and for the target network."""
        network = super().make_q_net()
        network.q_net = self.make_action_values(network.features_extractor)  # type: ignore[assignment]
        return network


class MaskedExplorationMixin(_Learner):
    """ε-greedy exploration among the patches that an observation leaves, drawn for each environment alone. [ours]

    SB3 draws once for all environments whether to explore, and explores among all actions.
    """

    exploration_rate: float

    def _sample_action(
        self, learning_starts: int, action_noise: Any = None, n_envs: int = 1
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """SB3's hook for the actions of one step: those to take, and those to store in the replay buffer."""
        assert self._last_obs is not None
        greedy, _ = self.policy.predict(self._last_obs, deterministic=True)
        warming_up = self.num_timesteps < learning_starts
        actions = self._explore(self._last_obs, greedy, 1.0 if warming_up else self.exploration_rate)
        return actions, actions

    def predict(
        self,
        observation: Any,
        state: tuple[NDArray[Any], ...] | None = None,
        episode_start: NDArray[Any] | None = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[np.int64], tuple[NDArray[Any], ...] | None]:
        """Choose the action of the highest Q, or explore with the probability ``exploration_rate``.

        Args:
            observation: Of one environment, or of B.
            state: Returned as it is, as the policies have no memory.
            episode_start: Ignored, for the same reason.
            deterministic: Whether never to explore.

        Returns:
            The actions, int64 () or (B,), and `state`.
        """
        greedy, _ = self.policy.predict(observation, deterministic=True)
        return greedy if deterministic else self._explore(observation, greedy, self.exploration_rate), state

    def _explore(self, observation: Any, greedy: NDArray[np.int64], epsilon: float) -> NDArray[np.int64]:
        """Replace each of the `greedy` actions, with the probability `epsilon`, by any that is not forbidden."""
        visited = torch.zeros(greedy.size, 0, dtype=torch.bool)
        if isinstance(observation, dict) and "visited" in observation:
            visited = torch.as_tensor(observation["visited"]).reshape(greedy.size, -1) > 0
        assert isinstance(self.action_space, spaces.Discrete)
        allowed = ~forbidden_actions(visited, int(self.action_space.n))
        random_actions = allowed.float().multinomial(1)[:, 0].numpy().reshape(greedy.shape)
        explores = torch.rand(greedy.shape).numpy() < epsilon
        return np.where(explores, random_actions, greedy)


class PromptDQN(MaskedExplorationMixin, DQN):
    """DQN that never explores a forbidden patch."""
