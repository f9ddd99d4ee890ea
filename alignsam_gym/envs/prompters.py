"""Whole episodes, and the prompting strategies that need no training: what an agent is measured against."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

from alignsam_gym.envs.episode import Episode
from alignsam_gym.envs.patch_grid import PatchGrid

Prompter = Callable[[Episode], np.ndarray]
"""Chooses an action for each row of episodes in progress, int64 (B,)."""


def begin(episode: Episode, indices: Sequence[int]) -> None:
    """Start each row on the image at its index, with random draws that depend on the index alone."""
    episode.reset(range(len(episode)), indices, [np.random.default_rng([0, index]) for index in indices])


def play(episode: Episode, indices: Sequence[int], prompter: Prompter) -> Iterator[int]:
    """Play each row to the end, on the image at its index; yields the number of prompts so far, 0 to T."""
    begin(episode, indices)
    yield 0
    for step in range(1, episode.rules.max_steps + 1):
        episode.step(range(len(episode)), prompter(episode))
        yield step


class RandomPrompter:
    """Chooses any patch not chosen before, all with equal probability ("Ours-w/o RL" of Tables 2, 3 and 9).

    The paper's "random selection" may or may not choose a patch twice. This never does, whatever `env.revisit` is,
    until none is left. [ours]

    The draws depend on the seed, the image's index and the step only, so that an image is prompted alike in any
    batch, and by an evaluation that was interrupted.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __call__(self, episode: Episode) -> np.ndarray:
        """Draw a patch for each row."""
        patches = episode.visited.shape[1]
        places = zip(episode.index.tolist(), episode.steps.tolist(), strict=True)
        scores = np.stack([np.random.default_rng([self.seed, *place]).random(patches) for place in places])
        return _best(episode, torch.from_numpy(scores))


def grid_prompter(episode: Episode) -> np.ndarray:
    """Choose the next unvisited patch in an order that covers the frame evenly, the same for every image.

    The order begins in the middle; each next patch is the farthest from all before it.
    """
    order = _spread(episode.rules.grid)
    return _best(episode, -order.expand(len(episode), -1).float())


def srm_prompter(episode: Episode) -> np.ndarray:
    """Choose the unvisited patch that is most likely foreground by the SRM's map."""
    return _best(episode, episode.rules.grid.pool(episode.srm_logits))


def clip_prompter(episode: Episode) -> np.ndarray:
    """Choose the unvisited patch with the highest similarity to the text in CLIP's map.

    Meant for ``initial_prompts="clip"`` and ``label_source="clip"``: no image with labels is needed then.
    """
    return _best(episode, episode.rules.grid.pool(episode.similarity))


def disagreement_prompter(episode: Episode) -> np.ndarray:
    """Choose the unvisited patch in which the SRM's map and SAM's mask differ most."""
    return _best(episode, episode.rules.grid.pool((episode.srm_logits.sigmoid() - episode.mask).abs()))


def oracle_prompter(episode: Episode) -> np.ndarray:
    """Choose the patch with the largest error of SAM's answer, of those whose centre is in error, and not void.

    Meant for ``label_source="oracle"``: a centre in error is where the true label tells SAM something new.
    Where no centre is in error, it is the patch with the largest error whatever its centre. Patches may be
    chosen again if the `revisit` rule allows it.
    """
    grid = episode.rules.grid
    answer = episode.logits > 0
    wrong = (answer.float() - (episode.truth > 0.5).float()).abs() * episode.valid
    error = grid.pool(wrong).flatten(1)
    missed = (episode.at_centres(episode.logits) > 0) != episode.centre_is_foreground.to(error.device)
    missed &= episode.at_centres(episode.valid) > 0.5
    allowed = torch.from_numpy(episode.allowed()[:, : grid.count]).to(error.device)
    scores = (error + missed * 2.0).masked_fill(~allowed, -1.0)
    return np.asarray(scores.argmax(1).cpu().numpy())


@cache
def _spread(grid: PatchGrid) -> Tensor:
    """Each patch's place in `grid_prompter`'s order, int64 (N,)."""
    between = torch.cdist(grid.centres, grid.centres)
    order = [int((grid.centres - grid.image_size / 2).norm(dim=1).argmin())]
    for _ in range(grid.count - 1):
        order.append(int(between[order].amin(0).argmax()))
    return torch.tensor(order).argsort()


def _best(episode: Episode, scores: Tensor) -> np.ndarray:
    """The highest of scores, (B, N) or (B, side, side), among unvisited patches; among all, once none is left."""
    closed = episode.visited & ~episode.visited.all(1, keepdim=True)
    closed = closed.to(scores.device)
    return np.asarray(scores.flatten(1).masked_fill(closed, float("-inf")).argmax(1).cpu().numpy())
