"""Actor–critic policies over patches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn

from agents.extractors import GUIDES, CnnExtractor, PatchesExtractor, PatchExtractor

_FORBIDDEN = -1e8


class PromptPolicy(ActorCriticPolicy):
    """π_θ and V_θ of Eq. 5–10; patches that the observation marks as visited get no probability.

    Subclasses name an extractor, and a head that turns its features into one logit a patch and into what
    the value is read from.
    """

    extractor: type[PatchesExtractor]
    head: type[_Head]

    def __init__(
        self, observation_space: spaces.Space, action_space: spaces.Space, lr_schedule: Schedule, **kwargs: Any
    ) -> None:
        kwargs.setdefault("features_extractor_class", self.extractor)
        super().__init__(observation_space, action_space, lr_schedule, **kwargs)

    def _build_mlp_extractor(self) -> None:
        assert isinstance(self.features_extractor, PatchesExtractor)
        assert isinstance(self.action_space, spaces.Discrete)
        patches = self.features_extractor.patches
        self.mlp_extractor = self.head(self.features_extractor, patches, int(self.action_space.n) > patches)  # type: ignore[assignment]

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        # The head gives the logits already: nothing learnt comes after it. It starts near uniform, as SB3's own.
        self.action_net = nn.Identity()
        assert isinstance(self.mlp_extractor, _Head)
        nn.init.orthogonal_(self.mlp_extractor.logits.weight, gain=0.01)
        optimizer: Any = self.optimizer_class
        self.optimizer = optimizer(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)


class _Head(nn.Module):
    """Splits visited patches off the features and forbids them; SB3 reads the two sizes.

    stop: whether there is an action after the patches, whose logit is read from what the value is read from.
    """

    logits: nn.Linear | nn.Conv1d

    def __init__(self, extractor: PatchesExtractor, patches: int, stop: bool, latent_dim_vf: int = 64) -> None:
        super().__init__()
        self.patches = patches
        self.seen = extractor.features_dim - extractor.visited
        self.latent_dim_pi, self.latent_dim_vf = patches + stop, latent_dim_vf
        self.stop = nn.Linear(latent_dim_vf, 1) if stop else None

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return self.forward_actor(features), self.forward_critic(features)

    def forward_actor(self, features: Tensor) -> Tensor:
        logits = self.patch_logits(features[:, : self.seen])
        visited = features[:, self.seen :] > 0.5
        if visited.shape[1]:
            logits = logits.masked_fill(visited & ~visited.all(1, keepdim=True), _FORBIDDEN)
        if self.stop is not None:
            logits = torch.cat([logits, self.stop(self.value_features(features[:, : self.seen]))], dim=1)
        return logits

    def forward_critic(self, features: Tensor) -> Tensor:
        return self.value_features(features[:, : self.seen])

    def patch_logits(self, features: Tensor) -> Tensor:
        raise NotImplementedError

    def value_features(self, features: Tensor) -> Tensor:
        raise NotImplementedError


class _FlatHead(_Head):
    """One linear layer from the whole image's vector to all patches."""

    def __init__(self, extractor: PatchesExtractor, patches: int, stop: bool) -> None:
        super().__init__(extractor, patches, stop)
        self.logits = nn.Linear(self.seen, patches)
        self.value = nn.Sequential(nn.Linear(self.seen, self.latent_dim_vf), nn.ReLU())

    def patch_logits(self, features: Tensor) -> Tensor:
        return self.logits(features)

    def value_features(self, features: Tensor) -> Tensor:
        return self.value(features)


class _PatchHead(_Head):
    """One 1×1 convolution from each patch's vector to its logit; the value sees their mean and maximum."""

    def __init__(self, extractor: PatchesExtractor, patches: int, stop: bool) -> None:
        super().__init__(extractor, patches, stop)
        width = self.seen // patches
        self.logits = nn.Conv1d(width, 1, 1)
        self.value = nn.Sequential(nn.Linear(2 * width, self.latent_dim_vf), nn.ReLU())

    def patch_logits(self, features: Tensor) -> Tensor:
        return self.logits(features.unflatten(1, (-1, self.patches)))[:, 0]

    def value_features(self, features: Tensor) -> Tensor:
        patches = features.unflatten(1, (-1, self.patches))
        return self.value(torch.cat([patches.mean(2), patches.amax(2)], dim=1))


class CnnPolicy(PromptPolicy):
    """A convolutional network over the whole state, flattened."""

    extractor, head = CnnExtractor, _FlatHead


class PatchPolicy(PromptPolicy):
    """A convolutional network whose logits stay on the patch grid.

    first_trust: with a guided state, the logits with which the policy begins for a patch in which SRM and SAM differ
    altogether, and for one that the SRM gives to the target. [ours; agent.first_trust]
    """

    extractor, head = PatchExtractor, _PatchHead

    def __init__(self, *args: Any, first_trust: Sequence[float] = (0.0, 0.0), **kwargs: Any) -> None:
        self.first_trust = list(first_trust)
        super().__init__(*args, **kwargs)

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        assert isinstance(self.features_extractor, PatchExtractor)
        assert isinstance(self.mlp_extractor, _PatchHead)
        if self.features_extractor.guided:
            in_difference, in_target = self.first_trust
            with torch.no_grad():
                self.mlp_extractor.logits.weight[:, -GUIDES:] = torch.tensor([in_target, in_difference, 0.0])[:, None]


POLICIES: dict[str, type[PromptPolicy]] = {"cnn": CnnPolicy, "patch": PatchPolicy}
