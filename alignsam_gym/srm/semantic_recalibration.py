"""The semantic recalibration module as the episode uses it: a map to ask, and updates after every action."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional as F

from alignsam_gym.atomic_write import write_atomically
from alignsam_gym.errors import WeightsError
from alignsam_gym.maps import iou
from alignsam_gym.srm.branches import BRANCHES
from alignsam_gym.srm.srm_config import SRMConfig
from alignsam_gym.state import State

PAPER_UPDATES = {"implicit": 1, "explicit": 5}
"""q of §4.1."""
_SUREST = 1e-3
"""M_c has 0 and 1 in every image; its log-odds are taken to be no surer than this."""


class SRM:
    """One branch for each fold, and their optimiser while they learn.

    members: the branches that are asked. learners: those that learn, the same unless `SRMConfig.early_stopping_interval` keeps
    them apart. kind: of branch, one of `BRANCHES`. channels: of the state it sees. seed: of its initial weights.
    learned: whether the weights are other than those initial ones.
    """

    def __init__(self, kind: str, channels: int, config: SRMConfig, device: torch.device, seed: int) -> None:
        self.kind, self.channels, self.config, self.device = kind, channels, config, device
        self.updates = PAPER_UPDATES[kind] if config.updates is None else config.updates
        self.start(seed)

    def start(self, seed: int) -> None:
        """(Re)initialise weights and optimiser."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed % 2**63)  # a generator's own seed may be longer
            members = [BRANCHES[self.kind](self.channels, self.config.width) for _ in range(self.config.folds)]
        self.members = nn.ModuleList(members).to(self.device).to(memory_format=torch.channels_last)
        selects = self.config.early_stopping_interval and self.config.folds > 1
        self.learners = deepcopy(self.members) if selects else self.members
        self.optimizer = torch.optim.Adam(self.learners.parameters(), lr=self.config.learning_rate)
        self._unseen = torch.zeros(3, self.config.folds, device=self.device)  # highest mean of IoU, sum, count
        self._taught = 0
        self.learned = False
        self.generator = torch.Generator(self.device).manual_seed(seed % 2**63)

    @torch.no_grad()
    def logits(self, states: State, folds: Tensor | None = None) -> Tensor:
        """The map y_r (Eq. 12) of B states as logits, float (B, h, w).

        folds: int64 (B,), the fold of each state's image, whose own branch is asked; None for new images.
        """
        if folds is None:
            maps = torch.stack([member(states) for member in self.members]).mean(0)
        else:
            maps = torch.empty_like(states.embeddings[:, 0])
            for fold, member in enumerate(self.members):
                if (mine := folds == fold).any():
                    maps[mine] = member(states[mine])
        return maps + self._told_by_text(states)

    def _told_by_text(self, states: State) -> Tensor | float:
        """What `SRMConfig.clip_logit_weight` adds to the answers of explicit branches, float (B, h, w)."""
        if self.kind == "implicit" or not self.config.clip_logit_weight:
            return 0.0
        return self.config.clip_logit_weight * torch.logit(states.factors[:, 0], eps=_SUREST)

    @torch.enable_grad()  # collectors such as TorchRL's step environments without
    def learn(self, states: State, target: Tensor, valid: Tensor, folds: Tensor | None = None) -> Tensor:
        """`updates` passes over the batch (Eq. 13).

        valid: float (B, h, w), the labelled pixels' share of each cell. target: the foreground's share of these.
        folds: int64 (B,), the fold of each state's image, from which its own branch does not learn; None if there is
        one branch.
        Returns the mean loss, a scalar, NaN if no branch had anything to learn.
        """
        losses = []
        self.learned = True
        if self.learners is not self.members and folds is not None:
            self._select(states, target, valid, folds)
        for _ in range(self.updates):
            for fold, member in enumerate(self.learners):
                rows = slice(None) if folds is None else folds != fold
                parts = (part[rows].split(self.config.batch_size) for part in (states, target, valid))
                for s, t, w in zip(*parts, strict=True):
                    if not len(s):
                        continue
                    loss = segmentation_loss(member(self._thinned(s)), t, w)
                    self.optimizer.zero_grad(set_to_none=True)
                    loss.backward()
                    self.optimizer.step()
                    losses.append(loss.detach())
        return torch.stack(losses).mean() if losses else torch.tensor(torch.nan)

    @torch.no_grad()
    def _select(self, states: State, target: Tensor, valid: Tensor, folds: Tensor) -> None:
        """Judge the learners by images that they have not seen, and let those be asked that did best."""
        highest, total, count = self._unseen
        for fold, learner in enumerate(self.learners):
            if (mine := folds == fold).any():
                seen = states[mine]
                ious = iou(learner(seen) + self._told_by_text(seen), target[mine], valid[mine])
                total[fold] += ious.sum()
                count[fold] += len(ious)
        every, before = self.config.early_stopping_interval, self._taught
        self._taught += len(states)
        if due := self._taught // every > before // every:
            mean = total / count
        for fold, (member, learner) in enumerate(zip(self.members, self.learners, strict=True)):
            if self._taught < every or (due and mean[fold] > highest[fold]):
                member.load_state_dict(learner.state_dict())
        if due:
            highest.copy_(torch.fmax(highest, mean))
            self._unseen[1:] = 0

    def _thinned(self, states: State) -> State:
        """States with some channels of their embeddings left out, the others strengthened as much."""
        rate = self.config.dropout
        if not rate:
            return states
        kept = torch.rand(states.embeddings.shape[:2], generator=self.generator, device=self.device) >= rate
        return replace(states, embeddings=states.embeddings * (kept / (1 - rate))[:, :, None, None])

    def state_dict(self) -> dict[str, Any]:
        """A copy of weights, optimiser and generator, for `load_state_dict`."""
        return deepcopy(
            {
                "members": self.members.state_dict(),
                "learners": self.learners.state_dict(),
                "unseen": self._unseen,
                "taught": self._taught,
                "optimizer": self.optimizer.state_dict(),
                "generator": self.generator.get_state(),
            }
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state_dict` was taken."""
        self.learned = True
        self.members.load_state_dict(state["members"])
        self.learners.load_state_dict(state["learners"])
        self._unseen.copy_(state["unseen"])
        self._taught = state["taught"]
        self.optimizer.load_state_dict(deepcopy(state["optimizer"]))
        self.generator.set_state(state["generator"].cpu())

    def save(self, path: Path) -> None:
        """Write the branches' weights as safetensors, for `load_weights`."""
        write_atomically(path, save({name: value.contiguous() for name, value in self.members.state_dict().items()}))

    def load_weights(self, path: Path) -> None:
        """Read what `save` wrote. Raises WeightsError."""
        try:
            self.members.load_state_dict(load_file(path))
        except (OSError, RuntimeError, SafetensorError) as error:
            raise WeightsError(f"{path} does not hold the weights of this SRM: {error}") from error
        self.learned = True


def segmentation_loss(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Dice + binary cross-entropy (Eq. 13) of maps (B, h, w), unlabelled cells left out; a scalar."""
    entropy = F.binary_cross_entropy_with_logits(logits, target, weight=valid, reduction="sum")
    probability, truth = logits.sigmoid() * valid, target * valid
    overlap = (probability * truth).sum((1, 2))
    dice = 1 - (2 * overlap + 1) / (probability.sum((1, 2)) + truth.sum((1, 2)) + 1)
    return entropy / valid.sum().clamp(min=1e-6) + dice.mean()
