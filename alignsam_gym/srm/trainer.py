"""The semantic recalibration module as the episode uses it: a map to ask, and updates after every action."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from alignsam_gym.errors import OptionError, WeightsError
from alignsam_gym.srm.branches import BRANCHES


@dataclass(frozen=True)
class SRMConfig:
    """Hyperparameters of the SRM (config group ``srm``).

    width: channels of the branch. [ours]
    learning_rate: of Adam (1e-4 in §4.1).
    updates: q, gradient steps after every action (1 for the implicit branch, 5 for the explicit, §4.1). With several
        environments an action is one of each, and a step is made for every `batch_size` of them. [ours]
    batch_size: states in a gradient step. [ours]
    blank_every: one state in so many has its mask replaced by ones, as in the state from which an
        evaluation episode takes its first pair of prompts; 0 for none. [ours]
    """

    width: int = 64
    learning_rate: float = 1e-4
    updates: int = 1
    batch_size: int = 16
    blank_every: int = 4

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> SRMConfig:
        """From a mapping. Raises OptionError for an unknown name."""
        known = [field.name for field in fields(cls)]
        if unknown := set(values) - set(known):
            raise OptionError(f"srm has no option {', '.join(sorted(map(str, unknown)))}; it takes {', '.join(known)}.")
        return cls(**values)


class SRM:
    """A branch, and its optimiser while it learns.

    kind: of branch, one of `BRANCHES`. channels: of the state it sees. seed: of its initial weights.
    """

    def __init__(self, kind: str, channels: int, config: SRMConfig, device: torch.device, seed: int) -> None:
        self.kind, self.channels, self.config, self.device = kind, channels, config, device
        self.start(seed)

    def start(self, seed: int) -> None:
        """(Re)initialise weights and optimiser."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed % 2**63)  # a generator's own seed may be longer
            branch = BRANCHES[self.kind](self.channels, self.config.width)
        self.branch = branch.to(self.device).to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.Adam(self.branch.parameters(), lr=self.config.learning_rate)

    @torch.no_grad()
    def logits(self, states: Tensor) -> Tensor:
        """The map y_r (Eq. 12) as logits: states (B, channels, h, w) -> (B, h, w)."""
        return self.branch(states)

    def learn(self, states: Tensor, target: Tensor, scored: Tensor) -> float:
        """`updates` passes over the batch (Eq. 13).

        states: (B, channels, h, w). target, scored: float (B, h, w), the shares of foreground and of
        labelled pixels in each cell. Returns the mean loss.
        """
        losses = []
        for _ in range(self.config.updates):
            parts = (part.split(self.config.batch_size) for part in (states, target, scored))
            for s, t, w in zip(*parts, strict=True):
                loss = segmentation_loss(self.branch(s), t, w)
                self.optimizer.zero_grad(set_to_none=True)
                loss.backward()
                self.optimizer.step()
                losses.append(loss.detach())
        return float(torch.stack(losses).mean())

    def state_dict(self) -> dict[str, Any]:
        return deepcopy({"branch": self.branch.state_dict(), "optimizer": self.optimizer.state_dict()})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.branch.load_state_dict(state["branch"])
        self.optimizer.load_state_dict(deepcopy(state["optimizer"]))

    def save(self, path: Path) -> None:
        """Write the branch's weights as safetensors, for `load_weights`."""
        save_file({name: value.contiguous() for name, value in self.branch.state_dict().items()}, path)

    def load_weights(self, path: Path) -> None:
        """Read what `save` wrote. Raises WeightsError."""
        try:
            self.branch.load_state_dict(load_file(path))
        except (OSError, RuntimeError, SafetensorError) as error:
            raise WeightsError(f"{path} does not hold the weights of this SRM: {error}") from error


def segmentation_loss(logits: Tensor, target: Tensor, scored: Tensor) -> Tensor:
    """Dice + binary cross-entropy (Eq. 13) of maps (B, h, w), unlabelled cells left out; a scalar."""
    entropy = F.binary_cross_entropy_with_logits(logits, target, weight=scored, reduction="sum") / scored.sum()
    probability, truth = logits.sigmoid() * scored, target * scored
    overlap = (probability * truth).sum((1, 2))
    dice = 1 - (2 * overlap + 1) / (probability.sum((1, 2)) + truth.sum((1, 2)) + 1)
    return entropy + dice.mean()
