"""What happens on the page, without the page: an episode to look back on, and points of the visitor's own."""

from __future__ import annotations

import math
import string
from dataclasses import dataclass
from typing import NamedTuple

from alignsam_gym.demo.images import DemoImage
from alignsam_gym.demo.pointers import Pointer
from alignsam_gym.envs.prompting_session import Prediction, PromptingSession
from alignsam_gym.errors import OptionError
from alignsam_gym.metrics import iou_of

LETTERS = string.ascii_lowercase
"""Names of the visitor's own points, in their order."""
_LONGEST = 200  # characters of a text; CLIP reads 77 tokens of any, while all other visitors wait


class Measured(NamedTuple):
    """What is measured of an answer.

    Attributes:
        covered: The fraction of the image that the mask covers.
        iou: With the ground truth, at the image's own size; None without.
        hit: Whether the patch of the step before it is foreground; None without ground truth, or without a step.
    """

    covered: float
    iou: float | None
    hit: bool | None = None


@dataclass(frozen=True, eq=False)  # Gradio hashes what it keeps, which arrays do not allow
class Visit:
    """One image, prompted to the end.

    Attributes:
        pointer: The short name of what prompted.
        image: With its ground truth, if there is any.
        text: What was looked for; None where no text guides the prompts.
        session: Has taken all its steps; the visitor's own points are added to it.
        measured: Of the answers after t = 0, 1, … steps, without the visitor's own points.
    """

    pointer: str
    image: DemoImage
    text: str | None
    session: PromptingSession
    measured: list[Measured]

    def names(self, prediction: Prediction, step: int) -> list[str]:
        """Name a prediction's prompts: 0 for the initial pair, the step's number, a letter for the visitor's own.

        Args:
            prediction: After `step` steps, and all of the visitor's own points.
            step: From 0 to T.
        """
        own = len(self.session.user_points())
        initial = len(prediction.labels) - step - own
        return ["0"] * initial + [str(1 + i) for i in range(step)] + list(LETTERS[:own])


def prompt_to_end(pointer: Pointer, image: DemoImage, text: str | None) -> Visit:
    """Let a pointer prompt SAM on an image, from the initial pair to the last step.

    Args:
        pointer: What prompts.
        image: To prompt.
        text: What to look for; None, or an empty one, for what the pointer looks for by itself.

    Raises:
        OptionError: The pointer has nothing to look for, or the text is too long.
    """
    typed = (text or "").strip()
    if len(typed) > _LONGEST:
        raise OptionError(f"A text of {len(typed)} characters is too long: use up to {_LONGEST}.")
    session = pointer.new_session()
    wanted = (typed or session.text) if session.clip else None
    if session.clip and not wanted:
        raise OptionError("Say what to look for: choose or type a text.")
    session.set_image(image.pixels, wanted)
    foreground = None if image.truth is None else session.rules.grid.truth(image.truth)
    measured = [measure(image, session.prediction())]
    while session.step():
        hit = None if foreground is None else bool(foreground[session.patches()[-1]])
        measured.append(measure(image, session.prediction(), hit))
    return Visit(pointer.short, image, wanted, session, measured)


def add_point(visit: Visit, x_px: float | None, y_px: float | None, positive: bool) -> None:
    """Add a point of the visitor's own.

    Args:
        visit: To add it to.
        x_px: In pixels of the image; None if it has not been typed.
        y_px: The same.
        positive: Whether the point is on the target.

    Raises:
        OptionError: A coordinate is missing, or the point is outside the image or one too many.
    """
    if len(visit.session.user_points()) == len(LETTERS):
        raise OptionError(f"{len(LETTERS)} points of your own are the most; undo some.")
    visit.session.add_point(math.nan if x_px is None else x_px, math.nan if y_px is None else y_px, positive)


def measure(image: DemoImage, prediction: Prediction, hit: bool | None = None) -> Measured:
    """Measure an answer on an image."""
    covered = float((prediction.logits > 0).float().mean())
    if image.truth is None:
        return Measured(covered, None)
    return Measured(covered, iou_of(prediction.mask, image.truth), hit)
