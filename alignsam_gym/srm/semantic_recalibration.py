"""The semantic recalibration module (SRM): it draws a map of the target, and learns after every action.

`Episode` reads the labels of points from the map.
"""

from __future__ import annotations

import warnings
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from alignsam_gym.atomic_write import write_atomically
from alignsam_gym.errors import WeightsError
from alignsam_gym.metrics.logits_iou import logits_iou
from alignsam_gym.rows import index_on
from alignsam_gym.srm.branches import BRANCHES
from alignsam_gym.srm.segmentation_loss import segmentation_loss
from alignsam_gym.srm.srm_config import SRMConfig
from alignsam_gym.state import State
from alignsam_gym.weight_files import check_finite

PAPER_UPDATES = {"implicit": 1, "explicit": 5}
"""q of §4.1, by branch."""

_LOGIT_EPSILON = 1e-3
"""M_c contains 0 and 1 in every image; its log-odds are computed as if it stayed this far away from both."""


class SRM:
    """One branch for each fold, and the optimiser that trains them.

    Args:
        kind: The kind of branch, a key of `BRANCHES`.
        channels: Channels of the state that a branch sees.
        config: The hyperparameters. Their `blocks` are decided (`SRMConfig.for_images`).
        device: Where the branches are.
        seed: Seed of the initial weights and of dropout.

    Attributes:
        members: The branches that draw maps.
        learners: The branches that learn. They are the members themselves, unless
            `SRMConfig.early_stopping_interval` keeps them apart.
        updates: q, gradient steps after every action.
        learned: Whether it has been taught, or has taken trained weights.
    """

    def __init__(self, kind: str, channels: int, config: SRMConfig, device: torch.device, seed: int) -> None:
        self.kind, self.channels, self.config, self.device = kind, channels, config, device
        self.updates = PAPER_UPDATES[kind] if config.updates is None else config.updates
        self.start(seed)

    def start(self, seed: int) -> None:
        """Initialise weights, optimiser and generator, also again."""
        config = self.config
        shape: dict[str, Any] = {"blocks": config.blocks, "dilated": config.dilated} if self.kind == "implicit" else {}
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed % 2**63)  # a generator's own seed may be longer
            members = [BRANCHES[self.kind](self.channels, config.width, **shape) for _ in range(config.folds)]
        self.members = nn.ModuleList(members).to(self.device).to(memory_format=torch.channels_last)
        stops_early = self.config.early_stopping_interval and self.config.folds > 1
        self.learners = deepcopy(self.members) if stops_early else self.members
        self._optimizer: torch.optim.Adam | None = None
        # Of the learners on images that they have not seen: the highest mean IoU, the sum of IoUs since, their count.
        self._unseen = torch.zeros(3, self.config.folds, device=self.device)
        self._states_learned = 0
        self.learned = False
        self.generator = torch.Generator(self.device).manual_seed(seed % 2**63)

    @property
    def optimizer(self) -> torch.optim.Adam:
        """The learners', made when it is first used: PyTorch imports its compiler for one, which takes seconds."""
        if self._optimizer is None:
            self._optimizer = torch.optim.Adam(self.learners.parameters(), lr=self.config.learning_rate)
        return self._optimizer

    def warn_unless_learned(self) -> None:
        """Warn that what comes from this SRM is random, if it has learned nothing."""
        if not self.learned:
            warnings.warn(
                "The SRM has learned nothing: labels, prompts and answers that it decides are random. Give a trained "
                "one, srm=training_env.unwrapped.srm, or other label_source, initial_prompts and answer.",
                stacklevel=3,
            )

    @torch.no_grad()
    def logits(self, states: State, folds: Tensor | None = None) -> Tensor:
        """Draw the map y_r (Eq. 12).

        Args:
            states: B states.
            folds: int64 (B,), on the CPU, the fold of each state's image. The branch of that fold, which has not seen
                the image, draws its map. None for new images, whose map is the mean of all branches.

        Returns:
            Logits, float (B, h, w).
        """
        if folds is None:
            maps = torch.stack([member(states) for member in self.members]).mean(0)
        else:
            maps = torch.empty_like(states.factors[:, 0])
            for fold, member in enumerate(self.members):
                rows = _places(folds == fold)
                if len(rows):
                    maps[index_on(maps.device, rows)] = member(states[rows])
        return maps + self._clip_logits(states)

    def _clip_logits(self, states: State) -> Tensor | float:
        """Compute what `SRMConfig.clip_logit_weight` adds to the maps of explicit branches, float (B, h, w)."""
        if self.kind == "implicit" or not self.config.clip_logit_weight:
            return 0.0
        return self.config.clip_logit_weight * torch.logit(states.factors[:, 0], eps=_LOGIT_EPSILON)

    @torch.enable_grad()  # collectors such as TorchRL's step environments without
    def learn(self, states: State, target: Tensor, valid: Tensor, folds: Tensor | None = None) -> Tensor:
        """Learn from a batch of B states, in `updates` passes over it (Eq. 13).

        Args:
            states: B states.
            target: float (B, h, w) in [0, 1], the foreground's fraction of each cell's labelled pixels.
            valid: float (B, h, w) in [0, 1], the fraction of each cell's pixels that have a label.
            folds: int64 (B,), on the CPU, the fold of each state's image. The branch of that fold does not learn from
                it. None if there is one branch.

        Returns:
            The mean loss, a scalar; NaN if no branch had anything to learn.
        """
        losses = []
        self.learned = True
        if self.learners is not self.members and folds is not None:
            self._stop_early(states, target, valid, folds)
        for _ in range(self.updates):
            for fold, learner in enumerate(self.learners):
                rows = torch.arange(len(states)) if folds is None else _places(folds != fold)
                for batch in rows.split(self.config.batch_size):
                    if not len(batch):
                        continue
                    there = index_on(target.device, batch)
                    maps = learner(self._drop_channels(states[batch]))
                    loss = segmentation_loss(maps, target[there], valid[there])
                    self.optimizer.zero_grad(set_to_none=True)
                    loss.backward()
                    self.optimizer.step()
                    losses.append(loss.detach())
        return torch.stack(losses).mean() if losses else torch.tensor(torch.nan)

    @torch.no_grad()
    def _stop_early(self, states: State, target: Tensor, valid: Tensor, folds: Tensor) -> None:
        """Measure each learner on images that it has not seen; the best so far gives its member its weights."""
        highest, total, count = self._unseen
        for fold, learner in enumerate(self.learners):
            rows = _places(folds == fold)
            if len(rows):
                unseen, there = states[rows], index_on(target.device, rows)
                ious = logits_iou(learner(unseen) + self._clip_logits(unseen), target[there], valid[there])
                total[fold] += ious.sum()
                count[fold] += len(ious)
        interval, before = self.config.early_stopping_interval, self._states_learned
        self._states_learned += len(states)
        if self._states_learned < interval:
            best = torch.ones_like(highest, dtype=torch.bool)
        elif self._states_learned // interval > before // interval:
            mean = total / count
            best = mean > highest
            highest.copy_(torch.fmax(highest, mean))
            self._unseen[1:] = 0
        else:
            return
        for is_best, member, learner in zip(best, self.members, self.learners, strict=True):
            for kept, new in zip(member.parameters(), learner.parameters(), strict=True):
                kept.copy_(torch.where(is_best, new, kept))  # chosen on the device, for which nobody waits

    def _drop_channels(self, states: State) -> State:
        """Leave some channels of the embeddings out, and strengthen the others as much."""
        rate = self.config.dropout
        if not rate:
            return states
        shape = len(states), states.embeddings.shape[1]
        kept = torch.rand(shape, generator=self.generator, device=self.device) >= rate
        return replace(states, channel_gains=kept / (1 - rate))

    def state_dict(self) -> dict[str, Any]:
        """Copy weights, optimiser and generator, for `load_state_dict`."""
        return deepcopy(
            {
                "members": self.members.state_dict(),
                "learners": self.learners.state_dict(),
                "unseen": self._unseen,
                "states_learned": self._states_learned,
                "optimizer": self._optimizer and self._optimizer.state_dict(),
                "learned": self.learned,
                "generator": self.generator.get_state(),
                "device": self.device.type,
            }
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state_dict` was called."""
        self.learned = state["learned"]
        self.members.load_state_dict(state["members"])
        self.learners.load_state_dict(state["learners"])
        self._unseen.copy_(state["unseen"])
        self._states_learned = state["states_learned"]
        self._optimizer = None
        if state["optimizer"]:
            self.optimizer.load_state_dict(deepcopy(state["optimizer"]))
        if state["device"] == self.device.type:  # another kind of device draws by other rules
            self.generator.set_state(state["generator"].cpu())

    def save(self, path: str | Path) -> None:
        """Write the members' weights as safetensors, for `load_weights`."""
        tensors = {name: value.contiguous() for name, value in self.members.state_dict().items()}
        write_atomically(Path(path), save(tensors))

    def load_weights(self, path: str | Path) -> None:
        """Read what `save` wrote.

        Raises:
            WeightsError: The file cannot be read, or holds the weights of another SRM, or NaN or infinite ones.
        """
        try:
            self.members.load_state_dict(load_file(path))
        except (OSError, RuntimeError, SafetensorError) as error:
            older = " (an explicit branch of an earlier version had one more convolution)" * (self.kind == "explicit")
            raise WeightsError(f"{path} does not hold the weights of this SRM{older}: {error}") from error
        check_finite(Path(path), dict(self.members.named_parameters()))
        self.learned = True


def _places(chosen: Tensor) -> Tensor:
    """Return where bool (B,) is true, int64 (n,)."""
    return chosen.nonzero()[:, 0]
