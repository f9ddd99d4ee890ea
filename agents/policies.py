"""SB3's actor–critic policies with the networks of `alignsam_gym.agents.networks`."""

from __future__ import annotations

from copy import copy, deepcopy
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import CategoricalDistribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn

from alignsam_gym.agents.networks import Head, build_head
from alignsam_gym.agents.prompting_policy import begin_pretrained

if TYPE_CHECKING:
    _Base = ActorCriticPolicy
else:
    _Base = object  # sb3-contrib's MaskableActorCriticPolicy does not derive from it


class PromptPolicyMixin(_Base):
    """Makes an actor–critic policy of SB3 use a `Head`: π_θ and V_θ of Eq. 5–10.

    Patches that the observation marks as visited get no probability. Threads may share a policy to choose actions. The
    paper has an actor network and a critic network; here they share the features extractor, unless ``policy_kwargs``
    have ``share_features_extractor=False``. [ours; agent.policy_kwargs]

    Args:
        observation_space: The space of the environment's observation.
        action_space: ``Discrete``: the patches, and perhaps stopping.
        lr_schedule: As SB3 passes it.
        head: The class of the head.
        **kwargs: Keywords of the SB3 policy.

    Attributes:
        recurrent: Whether an action depends on earlier states of its episode.
    """

    recurrent = False

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        *,
        head: type[Head],
        **kwargs: Any,
    ) -> None:
        self.head_class = head  # SB3's constructor already builds the head
        super().__init__(observation_space, action_space, lr_schedule, **kwargs)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        """SB3's hook for the keywords that a policy's own ``save`` keeps."""
        return super()._get_constructor_parameters() | {"head": self.head_class}

    def _build_mlp_extractor(self) -> None:
        """SB3's hook for the layers between the features and the last layers of actor and critic."""
        self.mlp_extractor = build_head(self.head_class, self.features_extractor, self.action_space)  # type: ignore[assignment]

    def _build(self, lr_schedule: Schedule) -> None:
        """SB3's hook that builds all networks and the optimizer. Takes away the actor's last layer.

        The head gives the logits already. SB3's optimizer holds the layer that goes, so there is a new optimizer.
        """
        super()._build(lr_schedule)
        self.action_net = nn.Identity()
        self.mlp_extractor.initialize()  # type: ignore[operator]
        optimizer_class: Any = self.optimizer_class
        self.optimizer = optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)

    def _get_action_dist_from_latent(self, latent_pi: Tensor) -> Any:
        """SB3's hook. SB3 keeps the latest distribution on the policy, where threads would take each other's."""
        return copy(self.action_dist).proba_distribution(self.action_net(latent_pi))

    @torch.no_grad()
    def choose_actions(
        self, observation: Any, memory: Any, begins: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Any]:
        """Choose an action for each of B rows.

        Args:
            observation: B observations, NumPy arrays.
            memory: What the call for the step before returned; None at first. A policy without memory ignores it.
            begins: bool (B,), whether each row's episode begins.
            generator: Draws the actions, on the policy's device. None for the likeliest actions.

        Returns:
            The actions, int64 (B,), and the memory for the next step.
        """
        tensors, _ = self.obs_to_tensor(observation)
        return draw_or_likeliest(self.get_distribution(tensors), generator), None


def draw_or_likeliest(distribution: Any, generator: torch.Generator | None) -> Tensor:
    """Return an action of each row of a categorical distribution of SB3: drawn, or the likeliest without a generator.

    SB3's own draws are PyTorch's global generator's, which other threads draw from.
    """
    if generator is None:
        likeliest: Tensor = distribution.mode()
        return likeliest
    return torch.multinomial(distribution.distribution.probs, 1, True, generator=generator)[:, 0]


class PromptPolicy(PromptPolicyMixin, ActorCriticPolicy):
    """The policy of PPO and A2C.

    Its entropy may be relative to the pretrained policy: minus the Kullback–Leibler divergence from that. So
    ``agent.ent_coef`` keeps it near that one, as it else keeps it near the uniform one. [ours; policy.init]

    Args:
        *args: Those of `PromptPolicyMixin`.
        reference: What the entropy is relative to. SB3 saves it with all ``policy_kwargs``, so that a loaded learner
            goes on with the same loss.
        **kwargs: Those of `PromptPolicyMixin`.
    """

    def __init__(self, *args: Any, reference: Literal["uniform", "pretrained"] = "uniform", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.reference = reference

    def _get_constructor_parameters(self) -> dict[str, Any]:
        """SB3's hook, as in `PromptPolicyMixin`."""
        return super()._get_constructor_parameters() | {"reference": self.reference}

    @cached_property  # by which it is no module of this one: neither saved nor learned
    def _pretrained(self) -> PromptPolicy:
        """This policy as it begins with ``policy.init=pretrained``. Raises WeightsError."""
        pretrained = deepcopy(self).requires_grad_(False)
        with torch.random.fork_rng(devices=[]):  # the training draws the same whenever this happens
            begin_pretrained(pretrained)
        return pretrained

    def evaluate_actions(self, obs: Any, actions: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return values (B, 1), and log-probabilities of the actions and the entropy, (B,) each."""
        if self.reference == "uniform":
            return super().evaluate_actions(obs, actions)
        features = self.extract_features(obs)
        of_actor, of_critic = features if isinstance(features, tuple) else (features, features)
        distribution = self._get_action_dist_from_latent(self.mlp_extractor.forward_actor(of_actor))
        values = self.value_net(self.mlp_extractor.forward_critic(of_critic))
        now = cast(CategoricalDistribution, distribution).distribution.logits
        with torch.no_grad():
            at_first = cast(CategoricalDistribution, self._pretrained.get_distribution(obs)).distribution.logits
        divergence = (now.exp() * (now - at_first)).sum(1)
        return values, distribution.log_prob(actions), -divergence
