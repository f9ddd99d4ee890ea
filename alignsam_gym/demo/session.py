"""What happens on the page, without the page: an episode to look back on, and points of one's own."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from alignsam_gym.data.samples import Sample
from alignsam_gym.demo.images import Picture
from alignsam_gym.demo.pointers import Pointer
from alignsam_gym.envs.episode import Episode
from alignsam_gym.envs.prompters import play
from alignsam_gym.envs.rendering import upsample
from alignsam_gym.errors import OptionError
from alignsam_gym.foundation.sam.batched_decoder import PADDING
from alignsam_gym.metrics import overlap
from alignsam_gym.metrics.mask_scores import fraction

LETTERS = string.ascii_lowercase
"""Names of one's own points, in their order."""
_LONGEST = 200  # characters of a text; CLIP reads 77 tokens of any, while all other visitors wait


class OwnPoint(NamedTuple):
    """In pixels of the image, whose upper left corner is (0, 0)."""

    x: float
    y: float
    positive: bool


@dataclass(frozen=True, eq=False)
class Answer:
    """SAM's, to some prompts.

    points: float (n, 2), (x, y) in pixels of the image. labels: int (n,), 1 positive, 0 negative.
    logits: float32 (4h, 4w), low-resolution. hit: whether the latest step's patch is foreground in the ground truth.
    """

    points: np.ndarray
    labels: np.ndarray
    logits: Tensor
    hit: bool | None = None


@dataclass(frozen=True, eq=False)  # Gradio hashes what it keeps, which arrays do not allow
class Session:
    """One image, prompted to the end.

    answers: after t = 0, 1, … prompts besides the initial pair. ious: theirs, None without ground truth.
    """

    picture: Picture
    text: str | None
    answers: tuple[Answer, ...]
    ious: tuple[float | None, ...]
    episode: Episode

    @property
    def steps(self) -> int:
        return len(self.answers) - 1


def run_episode(pointer: Pointer, picture: Picture, text: str | None) -> Session:
    """Let `pointer` prompt SAM on a picture, from the initial pair to the last step.

    text: what to look for; None, or an empty one, for what the pointer takes by itself. Raises OptionError if it has
    nothing to look for, and for a text that is too long.
    """
    typed = (text or "").strip()
    if len(typed) > _LONGEST:
        raise OptionError(f"A text of {len(typed)} characters is too long: use up to {_LONGEST}.")
    wanted = typed or pointer.text if pointer.clip else None
    if pointer.clip and not wanted:
        raise OptionError("Say what to look for: choose or type a text.")
    truth = np.zeros(picture.size, bool) if picture.truth is None else picture.truth
    episode = pointer.episode(Sample(picture.name, picture.image, truth, text=wanted))
    answers = []
    with torch.no_grad():
        for step in play(episode, [0], pointer.prompter):
            if episode.terminated()[0]:
                break
            hit = bool(episode.hit[0]) if step and picture.truth is not None else None
            answers.append(_answer(episode, picture, hit))
    return Session(picture, wanted, tuple(answers), tuple(iou(picture, answer) for answer in answers), episode)


def corrected(session: Session, step: int, own: Sequence[OwnPoint]) -> Answer:
    """SAM's answer to the prompts of t = 0 … `step` and points of one's own."""
    before, episode = session.answers[step], session.episode
    if not own:
        return before
    points = np.concatenate([before.points, [(x, y) for x, y, _ in own]])
    labels = np.concatenate([before.labels, [int(positive) for *_, positive in own]])
    logits = episode.model.decode(
        episode.image,
        torch.zeros(1, dtype=torch.int64, device=episode.model.device),
        torch.tensor(points / session.picture.size[::-1], dtype=torch.float32, device=episode.model.device)[None],
        torch.tensor(labels, device=episode.model.device)[None],
        before.logits[None] if episode.rules.mask_prompt else None,
    )
    return Answer(points, labels, logits[0])


def add(own: Sequence[OwnPoint], picture: Picture, x: float | None, y: float | None, positive: bool) -> list[OwnPoint]:
    """One's own points and another. Raises OptionError for one outside the picture, or one too many."""
    height, width = picture.size
    if x is None or y is None or not (0 <= x <= width and 0 <= y <= height):
        raise OptionError(f"A point in this image has x from 0 to {width} and y from 0 to {height}.")
    if len(own) == len(LETTERS):
        raise OptionError(f"{len(LETTERS)} points of your own are the most; undo some.")
    return [*own, OwnPoint(x, y, positive)]


def names(session: Session, answer: Answer, step: int) -> list[str]:
    """What the prompts of an answer are called: 0 for the initial pair, the step's number, a letter for one's own."""
    given = len(session.answers[step].labels)
    first = len(session.answers[0].labels)
    return ["0"] * first + [str(1 + i) for i in range(given - first)] + list(LETTERS[: len(answer.labels) - given])


def mask(picture: Picture, answer: Answer) -> np.ndarray:
    """bool (H, W), at the image's own size."""
    return upsample(answer.logits, picture.size)


def iou(picture: Picture, answer: Answer) -> float | None:
    """With the ground truth, at the image's own size; None without."""
    if picture.truth is None:
        return None
    return fraction(*overlap(mask(picture, answer), picture.truth))


def _answer(episode: Episode, picture: Picture, hit: bool | None) -> Answer:
    given = episode.labels[0] != PADDING
    scale = torch.tensor(picture.size[::-1], device=given.device) / episode.rules.grid.image_size
    points, labels = (episode.points[0][given] * scale).cpu().numpy(), episode.labels[0][given].cpu().numpy()
    return Answer(points, labels, episode.logits[0].clone(), hit)
