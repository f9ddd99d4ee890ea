"""The semantic recalibration module as the episode uses it: a map to ask, and updates after every action."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional as F

from alignsam_gym.atomic_write import write_atomically
from alignsam_gym.errors import OptionError, WeightsError, check_count, check_number
from alignsam_gym.metrics.logits_iou import logits_iou
from alignsam_gym.srm.branches import BRANCHES, NORM_GROUPS
from alignsam_gym.state import State

PAPER_UPDATES = {"implicit": 1, "explicit": 5}
"""q of §4.1."""
_SUREST = 1e-3
"""M_c has 0 and 1 in every image; its log-odds are taken to be no surer than this."""


@dataclass(frozen=True)
class SRMConfig:
    """Hyperparameters of the SRM (config group ``srm``).

    width: channels of the branch, a multiple of `NORM_GROUPS`. [ours]
    learning_rate: of Adam (1e-4 in §4.1).
    updates: q, gradient steps after every action; None for §4.1's, 1 for the implicit branch and 5 for the explicit.
        With several environments an action is one of each, and a step is made for every `batch_size` of them. [ours]
    batch_size: states in a gradient step. [ours]
    folds: cross-fitting. With k > 1 the labelled images are dealt into k folds, and k branches learn, each from all
        folds but one. In training a map is asked of the branch that has not seen the image, so that the agent
        meets labels as wrong as they will be on new images; elsewhere the answer is the branches' mean. 1 is the
        paper's single branch. [ours]
    full_mask_every: one state in so many, by row and step, has its mask replaced by ones, as in the state from which an
        evaluation episode takes its first pair of prompts; 0 for none. A single row's first is after so many steps.
        [ours]
    dropout: how likely a channel of a state's embedding is left out of a gradient step. [ours]
    early_stopping_interval: early stopping. After every so many states, the branch that a fold's map is asked of is replaced by
        the one that goes on learning if that one's IoU on the fold, which it has not seen, is the highest so far; until
        the first comparison it always is. 0 for always. With one fold nothing is unseen, and it always is. [ours]
    clip_logit_weight: how much an explicit branch's answer is CLIP's. The log-odds of M_c, so many times, are added to what
        the branch says, which learns without them: two experts, of whom one has not seen the few labelled images and
        cannot overfit to them. 0 for the branch alone. [ours]
    """

    width: int = 64
    learning_rate: float = 1e-4
    updates: int | None = None
    batch_size: int = 8
    folds: int = 1
    full_mask_every: int = 4
    dropout: float = 0.0
    early_stopping_interval: int = 0
    clip_logit_weight: float = 0.0

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> SRMConfig:
        """From a mapping. Raises OptionError for anything else, an unknown name, or a value out of range."""
        if not isinstance(values, Mapping):
            raise OptionError(f"srm={values!r}: give its options by name, or a trained SRM.")
        known = [field.name for field in fields(cls)]
        if unknown := set(values) - set(known):
            raise OptionError(f"srm has no option {', '.join(sorted(map(str, unknown)))}; it takes {', '.join(known)}.")
        config = cls(**values)
        if config.updates is not None:
            check_count("srm.updates", config.updates, "it must be at least 1, or null for the paper's")
        for name in ("width", "batch_size", "folds"):
            check_count(f"srm.{name}", getattr(config, name), "it must be at least 1")
        for name in ("full_mask_every", "early_stopping_interval"):
            check_count(f"srm.{name}", getattr(config, name), "it must be a count of states, or 0 for none", least=0)
        for name in ("learning_rate", "dropout", "clip_logit_weight"):
            check_number(f"srm.{name}", getattr(config, name))
        for name, fits, wanted in (
            ("width", config.width % NORM_GROUPS == 0, f"a multiple of {NORM_GROUPS}"),
            ("learning_rate", config.learning_rate > 0, "above 0"),
            ("dropout", 0 <= config.dropout < 1, "at least 0 and below 1"),
            ("clip_logit_weight", config.clip_logit_weight >= 0, "at least 0"),
        ):
            if not fits:
                raise OptionError(f"srm.{name}={getattr(config, name)}: it must be {wanted}.")
        return config


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
                ious = logits_iou(learner(seen) + self._told_by_text(seen), target[mine], valid[mine])
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
