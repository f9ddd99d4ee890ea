"""The networks that an algorithm trains: a features extractor, and the head that turns features into action scores.

The default reads ``observation="evidence"``, which has no embedding in it. Others read ``"patches"``: each channel's
mean over every patch, so that PPO's many epochs process 100 patches instead of SAM's 4,096 cells. Such a mean keeps
what a 1×1 convolution in front of the pooling would have kept, as both are linear. It loses how a channel varies within
a patch, which a network that has a ReLU before it mixes cells can use. `FullCnnExtractor` reads
``observation="cells"``, in which nothing is pooled. [ours; policy.network]
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from alignsam_gym.errors import check_choice

SRM_CHANNELS = 3
"""The last channels of a guided observation: means of the SRM's map and of its absolute difference from SAM's mask,
and the map's value at the patch's centre."""

_FORBIDDEN_SCORE = -1e8


class PromptExtractor(BaseFeaturesExtractor):
    """Base of the features extractors. It appends ``visited`` to the features, where the observation has it.

    Input: float (B, channels, side, side), or a dict of it under the name `sees` and of ``visited``, (B, N) with 1 for
    each patch that was chosen before. Output: float32 (B, `features_dim`).

    Args:
        observation_space: The space of the observation.
        features: Number of values that the subclass's `extract` gives for an image.
        num_patches: N, the patches of an image.

    Attributes:
        sees: The part of a dict of observations that is read besides ``visited``.
        num_patches: As given.
        visited_dim: N if the observation has ``visited``, else 0.
    """

    sees: ClassVar[str] = "patches"

    def __init__(self, observation_space: spaces.Space[Any], features: int, num_patches: int) -> None:
        has_visited = isinstance(observation_space, spaces.Dict) and "visited" in observation_space.spaces
        visited_dim = num_patches if has_visited else 0
        super().__init__(observation_space, features + visited_dim)
        self.num_patches = num_patches
        self.visited_dim = visited_dim

    def forward(self, observations: Tensor | dict[str, Tensor]) -> Tensor:
        """Return the features of a batch, with ``visited`` behind them."""
        if isinstance(observations, Tensor):
            return self.extract(observations)
        features = self.extract(observations[self.sees])
        return torch.cat([features, observations["visited"]], dim=1) if self.visited_dim else features

    def extract(self, seen: Tensor) -> Tensor:
        """Return features float32 (B, features) of what is seen, float32 (B, channels, side, side)."""
        raise NotImplementedError


class CnnExtractor(PromptExtractor):
    """SB3's usual custom CNN: convolutions, then one vector of 4 · `width` values for the whole image.

    Args:
        observation_space: The space of ``observation="patches"``.
        width: Channels of each convolution. [ours; policy.width]
    """

    def __init__(self, observation_space: spaces.Space[Any], width: int = 64) -> None:
        channels, rows, columns = _shape(observation_space, self.sees)
        super().__init__(observation_space, 4 * width, rows * columns)
        self.convolutions = _convolutions(channels, width).append(nn.Flatten())
        self.linear = nn.Sequential(nn.Linear(width * self.num_patches, 4 * width), nn.ReLU())

    def extract(self, seen: Tensor) -> Tensor:
        features: Tensor = self.linear(self.convolutions(seen))
        return features


class FullCnnExtractor(PromptExtractor):
    """The same for the whole state: a 1×1 convolution in every cell, then strided ones, then one vector for the image.

    The paper says nothing of the network. [ours]

    Args:
        observation_space: The space of ``observation="cells"``.
        num_patches: N, which the cells do not tell.
        width: Channels of each convolution. [ours; policy.width]
    """

    sees = "state"
    halvings = 3

    def __init__(self, observation_space: spaces.Space[Any], num_patches: int, width: int = 64) -> None:
        super().__init__(observation_space, 4 * width, num_patches)
        channels, rows, columns = _shape(observation_space, self.sees)
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 1), nn.ReLU()]
        for _ in range(self.halvings):
            layers += [nn.Conv2d(width, width, 3, stride=2, padding=1), nn.ReLU()]
            rows, columns = -(-rows // 2), -(-columns // 2)
        self.convolutions = nn.Sequential(*layers, nn.Flatten())
        self.linear = nn.Sequential(nn.Linear(width * rows * columns, 4 * width), nn.ReLU())

    def extract(self, seen: Tensor) -> Tensor:
        features: Tensor = self.linear(self.convolutions(seen))
        return features


class PatchExtractor(PromptExtractor):
    """Features that stay on the patch grid: one vector for each patch, (B, width · side · side) when flattened.

    All patches share the weights, so 50 images of 100 patches are 5,000 examples of a patch.

    Args:
        observation_space: The space of ``observation="patches"``.
        guided: Whether the states are (``state="guided"``). The last `SRM_CHANNELS` channels then also bypass the
            convolutions, which makes `width` + 3 values a patch.
        width: Channels of each convolution. [ours; policy.width]
    """

    def __init__(self, observation_space: spaces.Space[Any], guided: bool = False, width: int = 32) -> None:
        channels, rows, columns = _shape(observation_space, self.sees)
        super().__init__(observation_space, (width + SRM_CHANNELS * guided) * rows * columns, rows * columns)
        self.guided = guided
        self.convolutions = _convolutions(channels, width)

    def extract(self, seen: Tensor) -> Tensor:
        features: Tensor = self.convolutions(seen)
        if self.guided:
            features = torch.cat([features, seen[:, -SRM_CHANNELS:]], dim=1)
        return features.flatten(1)


class EvidenceExtractor(PatchExtractor):
    """The same for ``observation="evidence"``: five 3×3 convolutions, each of which also sees the image-wide means.

    Nothing depends on how many patches there are, so the weights serve any patch size.

    Args:
        observation_space: The space of ``observation="evidence"``.
        width: Channels of each convolution. [ours; policy.width]
    """

    sees = "evidence"
    depth = 5

    def __init__(self, observation_space: spaces.Space[Any], width: int = 48) -> None:
        super().__init__(observation_space, width=width)
        channels, *_ = _shape(observation_space, self.sees)
        blocks = [MixedConvolution(width if number else channels, width) for number in range(self.depth)]
        self.convolutions = nn.Sequential(*blocks)


class MixedConvolution(nn.Module):
    """A 3×3 convolution to which a linear map of the image-wide means is added; ReLU; where sizes fit, a residual."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, width, 3, padding=1)
        self.of_means = nn.Linear(channels, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return float (B, width, h, w) of float (B, channels, h, w)."""
        mixed = self.convolution(x) + self.of_means(x.mean((2, 3)))[:, :, None, None]
        new = torch.relu(mixed)
        return x + new if x.shape[1] == new.shape[1] else new


def _convolutions(channels: int, width: int) -> nn.Sequential:
    """A 1×1 convolution, then two of 3×3, each with a ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 1),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.ReLU(),
    )


def _shape(observation_space: spaces.Space[Any], name: str) -> tuple[int, ...]:
    """(channels, side, side) of an observation, or of its part of that name."""
    seen = observation_space[name] if isinstance(observation_space, spaces.Dict) else observation_space
    assert seen.shape is not None
    return seen.shape


def forbidden_actions(visited: Tensor, actions: int) -> Tensor:
    """Return which of `actions` are forbidden, bool (B, actions), by the `visited` patches, bool (B, N).

    None is in a row that visited all patches. Stopping, the action after the patches, never is.
    """
    forbidden = visited & ~visited.all(1, keepdim=True)
    return nn.functional.pad(forbidden, (0, actions - visited.shape[1]))


class Head(nn.Module):
    """Base of the heads, which give a score for each action and the features that a state's value is computed from.

    It stands where SB3 has its ``mlp_extractor``: SB3 calls the ``forward`` methods and reads the ``latent`` sizes.
    Patches that the extractor marks as visited get a score of −1e8, unless all are visited.

    Args:
        extractor: The extractor whose features are the input.
        actions: Number of actions: all patches, and perhaps one more, which stops the episode.
        outputs: Scores of each action: 1 for an actor–critic or Q, the number of quantiles for QR-DQN.
        latent_dim_vf: Number of features that the value is computed from.

    Attributes:
        logits: The layer that scores patches.
        stop: The layer that scores stopping, from the value's features; None if the agent cannot stop.
    """

    logits: nn.Linear | nn.Conv1d

    def __init__(self, extractor: PromptExtractor, actions: int, outputs: int = 1, latent_dim_vf: int = 64) -> None:
        super().__init__()
        self.num_patches = extractor.num_patches
        self.visited_start = extractor.features_dim - extractor.visited_dim
        self.outputs = outputs
        self.latent_dim_pi = actions
        self.latent_dim_vf = latent_dim_vf
        self.stop = nn.Linear(latent_dim_vf, outputs) if actions > self.num_patches else None

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the results of `forward_actor` and `forward_critic`."""
        return self.forward_actor(features), self.forward_critic(features)

    def forward_actor(self, features: Tensor) -> Tensor:
        """Return logits float32 (B, actions) of π_θ, from the extractor's features (B, features_dim)."""
        return self.mask_visited(self.scores(features)[:, 0], features)

    def forward_critic(self, features: Tensor) -> Tensor:
        """Return what the value is computed from, float32 (B, latent_dim_vf)."""
        return self.value_features(features[:, : self.visited_start])

    def scores(self, features: Tensor) -> Tensor:
        """Return the scores of all actions, visited or not, float32 (B, outputs, actions)."""
        scores = self.patch_scores(features[:, : self.visited_start])
        if self.stop is not None:
            stop_scores = self.stop(self.forward_critic(features))
            scores = torch.cat([scores, stop_scores[:, :, None]], dim=2)
        return scores

    def mask_visited(self, scores: Tensor, features: Tensor) -> Tensor:
        """Return `scores` with visited patches at −1e8, in rows that have another patch left.

        Args:
            scores: (B, actions) or (B, outputs, actions).
            features: The extractor's, with ``visited`` at their end.
        """
        visited = features[:, self.visited_start :] > 0.5
        if visited.shape[1] == 0:
            return scores
        forbidden = forbidden_actions(visited, scores.shape[-1])
        if scores.ndim == 3:
            forbidden = forbidden[:, None]
        return scores.masked_fill(forbidden, _FORBIDDEN_SCORE)

    def initialize(self) -> None:
        """Make all patches' scores nearly equal, as SB3's own action layer does."""
        nn.init.orthogonal_(self.logits.weight, gain=0.01)

    def patch_scores(self, features: Tensor) -> Tensor:
        """Return float32 (B, outputs, N) of features (B, features) that ``visited`` was taken off."""
        raise NotImplementedError

    def value_features(self, features: Tensor) -> Tensor:
        """Return float32 (B, latent_dim_vf) of features (B, features) that ``visited`` was taken off."""
        raise NotImplementedError


class FlatHead(Head):
    """One linear layer from the whole image's vector to all patches' scores. Its arguments are those of `Head`."""

    def __init__(self, extractor: PromptExtractor, actions: int, outputs: int = 1) -> None:
        super().__init__(extractor, actions, outputs)
        self.logits = nn.Linear(self.visited_start, outputs * self.num_patches)
        self.value = nn.Sequential(nn.Linear(self.visited_start, self.latent_dim_vf), nn.ReLU())

    def patch_scores(self, features: Tensor) -> Tensor:
        scores: Tensor = self.logits(features)
        return scores.reshape(-1, self.outputs, self.num_patches)

    def value_features(self, features: Tensor) -> Tensor:
        value_features: Tensor = self.value(features)
        return value_features


class PatchHead(Head):
    """One linear map, shared by all patches, from a patch's vector to its score.

    The value is computed from the mean and the maximum over patches.

    Args:
        extractor: A `PatchExtractor`.
        actions: As `Head` has it.
        outputs: As `Head` has it.
    """

    def __init__(self, extractor: PromptExtractor, actions: int, outputs: int = 1) -> None:
        super().__init__(extractor, actions, outputs)
        assert isinstance(extractor, PatchExtractor)
        width = self.visited_start // self.num_patches
        self.logits = nn.Conv1d(width, outputs, 1)
        self.value = nn.Sequential(nn.Linear(2 * width, self.latent_dim_vf), nn.ReLU())

    def patch_scores(self, features: Tensor) -> Tensor:
        scores: Tensor = self.logits(self._by_patch(features))
        return scores

    def value_features(self, features: Tensor) -> Tensor:
        by_patch = self._by_patch(features)
        value_features: Tensor = self.value(torch.cat([by_patch.mean(2), by_patch.amax(2)], dim=1))
        return value_features

    def _by_patch(self, features: Tensor) -> Tensor:
        """(B, width, N)."""
        return features.reshape(len(features), -1, self.num_patches)


class RecurrentHead(nn.Module):
    """A head with memory: a linear map of the LSTM's output is added to each action's logit. [ours]

    The patches' own logits stay on their grid, as without memory. The value is computed from the head's value
    features with the LSTM's output behind them.

    Input: the extractor's features with the LSTM's output behind them, (B, features_dim + hidden).

    Args:
        head: The head without memory.
        hidden: Size of the LSTM's output.
    """

    def __init__(self, head: Head, hidden: int) -> None:
        super().__init__()
        self.head = head
        self.hidden = hidden
        self.latent_dim_pi = head.latent_dim_pi
        self.latent_dim_vf = head.latent_dim_vf + hidden
        self.remembered = nn.Linear(hidden, head.latent_dim_pi)

    def forward_actor(self, latent: Tensor) -> Tensor:
        """Return logits float32 (B, actions)."""
        features, memory = self._split(latent)
        scores = self.head.scores(features)[:, 0] + self.remembered(memory)
        return self.head.mask_visited(scores, features)

    def forward_critic(self, latent: Tensor) -> Tensor:
        """Return what the value is computed from, float32 (B, latent_dim_vf)."""
        features, memory = self._split(latent)
        return torch.cat([self.head.forward_critic(features), memory], dim=1)

    def initialize(self) -> None:
        """Make all patches' scores nearly equal; see `Head.initialize`."""
        self.head.initialize()
        nn.init.orthogonal_(self.remembered.weight, gain=0.01)
        nn.init.zeros_(self.remembered.bias)

    def _split(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """The extractor's features, and the LSTM's output."""
        return latent[:, : -self.hidden], latent[:, -self.hidden :]


class Network(NamedTuple):
    """An extractor, the head that goes with it, and the ``observation`` of the environment that it reads."""

    extractor: type[PromptExtractor]
    head: type[Head]
    observation: Literal["patches", "cells", "evidence"] = "patches"


NETWORKS: dict[str, Network] = {
    "cnn": Network(CnnExtractor, FlatHead),
    "full_cnn": Network(FullCnnExtractor, FlatHead, "cells"),
    "patch": Network(PatchExtractor, PatchHead),
    "evidence": Network(EvidenceExtractor, PatchHead, "evidence"),
}


def observation_of(policy: Mapping[str, Any]) -> str:
    """Return the ``observation`` that a policy reads, by its config group ``policy``. Raises OptionError."""
    return NETWORKS[check_choice("policy.network", policy["network"], tuple(NETWORKS))].observation


def build_head(head: type[Head], extractor: nn.Module, action_space: spaces.Space[Any], outputs: int = 1) -> Head:
    """Build the head of an SB3 policy, from its features extractor and its ``Discrete`` action space."""
    assert isinstance(extractor, PromptExtractor)
    assert isinstance(action_space, spaces.Discrete)
    return head(extractor, int(action_space.n), outputs)
