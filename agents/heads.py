"""From features to actions: the agent's hands. With an extractor, a head is a network that any algorithm may learn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from gymnasium import spaces
from torch import Tensor, nn

from alignsam_gym.agents.extractors import SRM_CHANNELS, CnnExtractor, PatchesExtractor, PatchExtractor

_FORBIDDEN = -1e8


class Head(nn.Module):
    """Scores of all actions, and what a state's value is read from; SB3 reads the two sizes.

    Visited patches, which the extractor appends to the features, are forbidden as long as any other is left.

    extractor: whose features it reads. actions: the patches, and perhaps one more, which stops; its score is read from
    what the value is read from. outputs: scores of each action; an actor–critic has one.
    """

    logits: nn.Linear | nn.Conv1d

    def __init__(self, extractor: PatchesExtractor, actions: int, outputs: int = 1, latent_dim_vf: int = 64) -> None:
        super().__init__()
        self.patches, self.outputs = extractor.patches, outputs
        self.seen = extractor.features_dim - extractor.visited
        self.latent_dim_pi, self.latent_dim_vf = actions, latent_dim_vf
        self.stop = nn.Linear(latent_dim_vf, outputs) if actions > self.patches else None

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return self.forward_actor(features), self.forward_critic(features)

    def forward_actor(self, features: Tensor) -> Tensor:
        """Logits (B, actions)."""
        return self.forbid(self.scores(features)[:, 0], features)

    def forward_critic(self, features: Tensor) -> Tensor:
        """What the value is read from, (B, latent_dim_vf)."""
        return self.value_features(features[:, : self.seen])

    def scores(self, features: Tensor) -> Tensor:
        """Of every action, none forbidden, (B, outputs, actions)."""
        scores = self.patch_scores(features[:, : self.seen])
        if self.stop is not None:
            scores = torch.cat([scores, self.stop(self.forward_critic(features))[:, :, None]], dim=2)
        return scores

    def forbid(self, scores: Tensor, features: Tensor) -> Tensor:
        """Scores (B, …, actions) with those of visited patches so low that they are never chosen."""
        visited = features[:, self.seen :] > 0.5
        if not visited.shape[1]:
            return scores
        closed = visited & ~visited.all(1, keepdim=True)
        closed = nn.functional.pad(closed, (0, scores.shape[-1] - self.patches))
        return scores.masked_fill(closed if scores.ndim == 2 else closed[:, None], _FORBIDDEN)

    def initialize(self, unit: float = 1.0) -> None:
        """Start near uniform, as SB3's own action layer does. unit: what a score of one is worth."""
        nn.init.orthogonal_(self.logits.weight, gain=0.01 * unit)

    def patch_scores(self, features: Tensor) -> Tensor:
        raise NotImplementedError

    def value_features(self, features: Tensor) -> Tensor:
        raise NotImplementedError


class FlatHead(Head):
    """One linear layer from the whole image's vector to all patches."""

    def __init__(self, extractor: PatchesExtractor, actions: int, outputs: int = 1) -> None:
        super().__init__(extractor, actions, outputs)
        self.logits = nn.Linear(self.seen, outputs * self.patches)
        self.value = nn.Sequential(nn.Linear(self.seen, self.latent_dim_vf), nn.ReLU())

    def patch_scores(self, features: Tensor) -> Tensor:
        return self.logits(features).unflatten(1, (self.outputs, self.patches))

    def value_features(self, features: Tensor) -> Tensor:
        return self.value(features)


class PatchHead(Head):
    """One 1×1 convolution from each patch's vector to its score; the value sees their mean and maximum.

    initial_logit_bias: with a guided state, the scores with which learning begins for a patch in which SRM and SAM differ
    altogether, and for one that the SRM gives to the target. [ours; policy.initial_logit_bias]
    """

    def __init__(
        self,
        extractor: PatchesExtractor,
        actions: int,
        outputs: int = 1,
        initial_logit_bias: Sequence[float] = (0.0, 0.0),
    ) -> None:
        super().__init__(extractor, actions, outputs)
        assert isinstance(extractor, PatchExtractor)
        self.guided, self.initial_logit_bias = extractor.guided, tuple(initial_logit_bias)
        width = self.seen // self.patches
        self.logits = nn.Conv1d(width, outputs, 1)
        self.value = nn.Sequential(nn.Linear(2 * width, self.latent_dim_vf), nn.ReLU())

    def initialize(self, unit: float = 1.0) -> None:
        super().initialize(unit)
        if self.guided:
            in_difference, in_target = self.initial_logit_bias
            with torch.no_grad():
                first = torch.tensor([in_target, in_difference, 0.0]) * unit
                self.logits.weight[:, -SRM_CHANNELS:] = first[:, None]

    def patch_scores(self, features: Tensor) -> Tensor:
        return self.logits(features.unflatten(1, (-1, self.patches)))

    def value_features(self, features: Tensor) -> Tensor:
        patches = features.unflatten(1, (-1, self.patches))
        return self.value(torch.cat([patches.mean(2), patches.amax(2)], dim=1))


class Network(NamedTuple):
    """An extractor and the head that goes with it."""

    extractor: type[PatchesExtractor]
    head: type[Head]


NETWORKS: dict[str, Network] = {"cnn": Network(CnnExtractor, FlatHead), "patch": Network(PatchExtractor, PatchHead)}

MakeHead = Callable[..., Head]
"""From extractor, actions and perhaps outputs to a head; policies take one as keyword ``head``."""


def head_of(make: MakeHead, extractor: nn.Module, action_space: spaces.Space, outputs: int = 1) -> Head:
    """The head that `make` gives for an SB3 policy's extractor and its actions."""
    assert isinstance(extractor, PatchesExtractor)
    assert isinstance(action_space, spaces.Discrete)
    return make(extractor, int(action_space.n), outputs)
