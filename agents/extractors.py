"""From observations to features: the agent's eyes."""

from __future__ import annotations

import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn
from torch.nn import functional as F

from alignsam_gym.envs.state import form_state
from alignsam_gym.errors import OptionError

GUIDES = 2
"""Channels that `PatchExtractor` adds for a guided state."""


class StateExtractor(BaseFeaturesExtractor):
    """What all extractors share: states from either kind of observation, and the visited patches passed on.

    observation_space: of ``observation="state"`` or ``"reference"``.
    state_shape: (channels, h, w) of a state. state: its kind. patches: N, the number of actions.
    features: values that the subclass's `see` gives.

    With references, `attach` must be given the embeddings that image indices point to. The output is
    float32 (B, features), and where the observation has ``visited``, that appended, (B, features + N).
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        state_shape: tuple[int, int, int],
        state: str,
        patches: int,
        features: int,
    ) -> None:
        masked = isinstance(observation_space, spaces.Dict) and "visited" in observation_space.spaces
        super().__init__(observation_space, features + (patches if masked else 0))
        self.state_shape, self.state, self.masked = tuple(state_shape), state, masked
        self._guide = "guide" if state == "guided" else "mask"  # states of other kinds have no guide to read
        self._embeddings: list[Tensor] = []  # in a list, so that it is no part of the module's state

    def attach(self, embeddings: Tensor) -> None:
        """Let image index i of a reference mean `embeddings[i]`, float32 (images, C, h, w)."""
        self._embeddings = [embeddings]

    def forward(self, observations: Tensor | dict[str, Tensor]) -> Tensor:
        if isinstance(observations, Tensor):
            return self.see(observations)
        if not self._embeddings:
            raise OptionError("The observations refer to images: give the extractor their embeddings with attach().")
        masks, guides = (observations[name].view(-1, *self.state_shape[1:]) for name in ("mask", self._guide))
        features = self.see_references(self._embeddings[0], observations["image"][:, 0].long(), masks, guides)
        return torch.cat([features, observations["visited"]], dim=1) if self.masked else features

    def see(self, states: Tensor) -> Tensor:
        """Features (B, features) of states (B, channels, h, w)."""
        raise NotImplementedError

    def see_references(self, embeddings: Tensor, image: Tensor, masks: Tensor, guides: Tensor) -> Tensor:
        """`see` of the states of images, int64 (B,), with masks and guides (B, h, w)."""
        return self.see(form_state(self.state, embeddings[image], masks, guides))


class CnnExtractor(StateExtractor):
    """The usual custom CNN of SB3: strided convolutions, then one vector for the whole image."""

    def __init__(
        self,
        observation_space: spaces.Space,
        state_shape: tuple[int, int, int],
        state: str,
        patches: int,
        width: int = 64,
    ) -> None:
        super().__init__(observation_space, state_shape, state, patches, features=4 * width)
        self.convolutions = nn.Sequential(
            nn.Conv2d(state_shape[0], width // 2, 1),
            nn.ReLU(),
            nn.Conv2d(width // 2, width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
        )
        with torch.no_grad():
            flat = self.convolutions(torch.zeros(1, *state_shape)).shape[1]
        self.linear = nn.Sequential(nn.Linear(flat, 4 * width), nn.ReLU())

    def see(self, states: Tensor) -> Tensor:
        return self.linear(self.convolutions(states))


class PatchExtractor(StateExtractor):
    """Features that stay on the patch grid: pooled to one vector a patch, then convolved among patches.

    Weights are shared by all patches, so that 50 images teach what a patch looks like 5,000 times.
    Features are (width, side, side), flattened. A guided state adds two channels that go past the
    convolutions: how far the SRM's map and SAM's mask disagree in each patch, and the SRM's map itself.
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        state_shape: tuple[int, int, int],
        state: str,
        patches: int,
        width: int = 32,
    ) -> None:
        channels = width + (GUIDES if state == "guided" else 0)
        super().__init__(observation_space, state_shape, state, patches, features=channels * patches)
        self.side = round(patches**0.5)
        self.first = nn.Conv2d(state_shape[0], width, 1)
        self.convolutions = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
        )

    def see(self, states: Tensor) -> Tensor:
        return self._finish(self.first(self._pool(states)), states[:, -2:-1], states[:, -1:])

    def see_references(self, embeddings: Tensor, image: Tensor, masks: Tensor, guides: Tensor) -> Tensor:
        """As `see`, but the first layer, being linear, meets each image once, before any mask multiplies it."""
        present, which = image.unique(return_inverse=True)
        masks, guides = masks[:, None], guides[:, None]
        channels = embeddings.shape[1]
        weights = list(self.first.weight.split(channels, dim=1))
        assert self.first.bias is not None
        pooled = self.first.bias[:, None, None]
        if self.state == "concat":
            pooled = pooled + self._pool(F.conv2d(embeddings[present], weights.pop(0))).index_select(0, which)
        pooled = pooled + self._pool(F.conv2d(embeddings[present], weights.pop(0)).index_select(0, which) * masks)
        if weights:  # single channels: M, and the guide
            maps = {"concat": [masks], "guided": [masks, guides]}[self.state]
            pooled = pooled + F.conv2d(self._pool(torch.cat(maps, dim=1)), weights.pop(0))
        return self._finish(pooled, masks, guides)

    def _finish(self, pooled: Tensor, masks: Tensor, guides: Tensor) -> Tensor:
        features = self.convolutions(pooled)
        if self.state == "guided":
            features = torch.cat([features, self._pool((guides - masks).abs()), self._pool(guides)], dim=1)
        return features.flatten(1)

    def _pool(self, maps: Tensor) -> Tensor:
        return F.interpolate(maps, (self.side, self.side), mode="area")
