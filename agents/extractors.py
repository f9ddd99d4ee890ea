"""From observations to features: the agent's eyes.

They see ``observation="patches"``, the state's means over patches. Pooling commutes with the 1×1 convolutions that
they begin with, so that nothing is lost which such a first layer could have kept, and PPO's many epochs meet 100
cells instead of SAM's 4,096.
"""

from __future__ import annotations

import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

SRM_CHANNELS = 3
"""Channels that `PatchExtractor` passes on of a guided state: its last ones."""


class PatchesExtractor(BaseFeaturesExtractor):
    """What all extractors share: the visited patches, where the observation has them, are passed on.

    observation_space: of ``observation="patches"``. features: values that the subclass's `see` gives.

    Output: float32 (B, features), with ``visited`` appended (B, features + N).
    """

    def __init__(self, observation_space: spaces.Space, features: int) -> None:
        visited = spaces.flatdim(observation_space["visited"]) if isinstance(observation_space, spaces.Dict) else 0
        super().__init__(observation_space, features + visited)
        self.visited = visited
        self.patches = _shape(observation_space)[1] * _shape(observation_space)[2]

    def forward(self, observations: Tensor | dict[str, Tensor]) -> Tensor:
        if isinstance(observations, Tensor):
            return self.see(observations)
        return torch.cat([self.see(observations["patches"]), observations["visited"]], dim=1)

    def see(self, patches: Tensor) -> Tensor:
        """Features (B, features) of patches float32 (B, channels, side, side)."""
        raise NotImplementedError


class CnnExtractor(PatchesExtractor):
    """The usual custom CNN of SB3: convolutions, then one vector for the whole image.

    width: channels. Features are (4 · width,).
    """

    def __init__(self, observation_space: spaces.Space, width: int = 64) -> None:
        super().__init__(observation_space, 4 * width)
        channels, side, _ = _shape(observation_space)
        self.convolutions = nn.Sequential(
            nn.Conv2d(channels, width, 1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.linear = nn.Sequential(nn.Linear(width * side * side, 4 * width), nn.ReLU())

    def see(self, patches: Tensor) -> Tensor:
        return self.linear(self.convolutions(patches))


class PatchExtractor(PatchesExtractor):
    """Features that stay on the patch grid: one vector a patch, convolved among patches.

    Weights are shared by all patches, so that 50 images teach what a patch looks like 5,000 times.

    width: channels. Features are (width, side, side), flattened.
    guided: whether the states are. Then three channels more go past the convolutions: the SRM's map, how far it and
        SAM's mask disagree in each patch, and the map at the patch's centre.
    """

    def __init__(self, observation_space: spaces.Space, guided: bool = False, width: int = 32) -> None:
        channels, side, _ = _shape(observation_space)
        super().__init__(observation_space, (width + SRM_CHANNELS * guided) * side * side)
        self.guided = guided
        self.convolutions = nn.Sequential(
            nn.Conv2d(channels, width, 1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
        )

    def see(self, patches: Tensor) -> Tensor:
        features = self.convolutions(patches)
        if self.guided:
            features = torch.cat([features, patches[:, -SRM_CHANNELS:]], dim=1)
        return features.flatten(1)


def _shape(observation_space: spaces.Space) -> tuple[int, ...]:
    patches = observation_space["patches"] if isinstance(observation_space, spaces.Dict) else observation_space
    assert patches.shape is not None
    return patches.shape
