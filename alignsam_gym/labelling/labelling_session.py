"""One window of the labelling page, without the page: a photograph, its prompts and strokes, and the mask they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from threading import Lock

import cv2
import numpy as np
from torch import Tensor

from alignsam_gym.envs.prompting_session import UserPoint
from alignsam_gym.errors import DataError, OptionError
from alignsam_gym.labelling.clicked_sam import Box, clean_mask, inner_point
from alignsam_gym.labelling.labelling_project import LabellingProject
from alignsam_gym.metrics import iou_of

_SUBPIXEL = 4  # bits after the point, with which OpenCV draws strokes


@dataclass(frozen=True)
class Stroke:
    """A stroke of the brush or the eraser.

    Attributes:
        path: Its (x, y), in pixels of the image; one for a dab.
        radius: In pixels of the image.
        adds: Whether it is the brush's.
    """

    path: Sequence[tuple[float, float]]
    radius: float
    adds: bool

    def draw(self, mask: np.ndarray) -> None:
        """Draw the stroke into a mask, uint8 (H, W) of 0 and 1."""
        value, scale = int(self.adds), 2**_SUBPIXEL
        corners = np.round((np.array(self.path, float) - 0.5) * scale).astype(np.int32)  # a pixel's centre is at .5
        for x, y in corners.tolist():
            cv2.circle(mask, (x, y), round(self.radius * scale), value, cv2.FILLED, shift=_SUBPIXEL)
        thickness = max(1, round(2 * self.radius))
        cv2.polylines(mask, [corners[:, None]], False, value, thickness, shift=_SUBPIXEL)


@dataclass(frozen=True, eq=False)
class Draft:
    """What a mask is made of. Every edit makes a new draft, so that the old ones can be taken back.

    The mask is what is kept, with the present object; then come the strokes, in their order. The present object is
    SAM's answer, or before any prompt the mask that it starts from.

    Attributes:
        kept: Objects that are done, bool (H, W).
        start: The mask that the prompts are to change, bool (H, W): a proposal, or what was on disk.
        points: Of the present object.
        box: Around the present object.
        logits: SAM's answer, float32 (4h, 4w).
        strokes: Over all of that.
        is_nothing: Whether it was said that there is nothing here, so that an empty mask is meant.
    """

    kept: np.ndarray
    start: np.ndarray
    points: tuple[UserPoint, ...] = ()
    box: Box | None = None
    logits: Tensor | None = None
    strokes: tuple[Stroke, ...] = ()
    is_nothing: bool = False

    @classmethod
    def of(cls, mask: np.ndarray) -> Draft:
        """Begin with a mask, which prompts may change."""
        return cls(np.zeros_like(mask), mask)

    @property
    def can_be_answered(self) -> bool:
        """Whether the prompts say where the object is. Negative points alone only take away from what is there."""
        return self.box is not None or bool(self.start.any()) or any(point.positive for point in self.points)

    def mask(self) -> np.ndarray:
        """Make the mask, bool (H, W)."""
        answer = self.start if self.logits is None else clean_mask(self.logits, self.start.shape)
        mask = (self.kept | answer).astype(np.uint8)
        for stroke in self.strokes:
            stroke.draw(mask)
        return np.asarray(mask > 0)


class LabellingSession:
    """One window: the photograph that it shows, and the edits of its mask. Every edit is saved at once.

    A session that has opened a photograph answers for its own photograph only; several sessions, and several programs,
    may label one folder. A mask that has changed on disk since it was loaded is not overwritten:
    `MaskChangedError` is raised, the edit stays, and `open` loads what is on disk, or `keep_mine` overwrites it.

    Args:
        project: The folder, and what all windows share.

    Attributes:
        save_failed: Whether the last edit could not be saved.
    """

    def __init__(self, project: LabellingProject) -> None:
        self.project = project
        self.lock = Lock()
        self.stem = ""
        self.save_failed = False
        self._drafts: list[Draft] = []

    def open(self, stem: str) -> None:
        """Show a photograph with its mask, or else with the agent's proposal, or without a mask.

        One that cannot be read is passed over from then on, when photographs are chosen in their order.

        Raises:
            OptionError: There is no such photograph.
            DataError: The photograph or its mask cannot be read.
        """
        if stem not in self.project.folder.photographs:
            raise OptionError(f"There is no photograph {stem} in {self.project.folder.images}.")
        proposer = self.project.outcomes.agent  # before its proposal is asked for: meanwhile another may come
        try:
            size = self.project.pixels(stem).shape[:2]
            content = self.project.masks.content(stem)
            saved = self.project.masks.read(stem, size)
            proposal = self.project.proposal(stem)
        except DataError:
            self.project.unreadable.add(stem)
            raise
        self.project.unreadable.discard(stem)
        start = saved if saved is not None else proposal
        self.stem, self.size, self.proposal, self._proposer = stem, size, proposal, proposer
        self._content_before = self._content = content
        self.save_failed = False
        self._drafts = [Draft.of(np.zeros(size, bool) if start is None else start)]
        self._mask = self.draft.mask()

    @property
    def draft(self) -> Draft:
        """What the mask is made of at present."""
        return self._drafts[-1]

    @property
    def mask(self) -> np.ndarray:
        """The mask that is shown, bool (H, W)."""
        return self._mask

    @property
    def edits(self) -> int:
        """How many edits can be taken back."""
        return len(self._drafts) - 1

    @property
    def is_saved(self) -> bool:
        """Whether the mask that is shown is on disk."""
        return self._content is not None and not self.save_failed

    @property
    def shows_proposal(self) -> bool:
        """Whether the mask that is shown is the agent's, and nobody has accepted it."""
        return self.proposal is not None and not self.is_saved and not self.edits

    def add_point(self, x_px: float, y_px: float, positive: bool) -> None:
        """Prompt SAM with a point.

        Raises:
            OptionError: It is outside the photograph.
            DataError: The mask cannot be saved.
        """
        height, width = self.size
        if not (0 <= x_px <= width and 0 <= y_px <= height):
            raise OptionError(f"A point in this photograph has x from 0 to {width} and y from 0 to {height}.")
        points = (*self.draft.points, UserPoint(x_px, y_px, positive))
        self._prompt(replace(self.draft, points=points, is_nothing=False))

    def set_box(self, one: tuple[float, float], other: tuple[float, float]) -> None:
        """Prompt SAM with the box between two corners, in place of one that there was. Raises as `add_point` does."""
        height, width = self.size
        box = Box.between(one, other)
        if not (0 <= box.left < box.right <= width and 0 <= box.top < box.bottom <= height):
            raise OptionError("A box needs two corners inside the photograph that differ in x and in y.")
        self._prompt(replace(self.draft, box=box, is_nothing=False))

    def paint(self, path: Sequence[tuple[float, float]], radius: float, adds: bool) -> None:
        """Draw with the brush, or with the eraser unless it `adds`.

        Raises:
            OptionError: There is no path, or no radius.
            DataError: The mask cannot be saved.
        """
        if not path or not 0 < radius <= max(self.size):
            raise OptionError("A stroke needs a path, and a radius above 0 and within the photograph.")
        stroke = Stroke(tuple(path), radius, adds)
        self._edit(replace(self.draft, strokes=(*self.draft.strokes, stroke), is_nothing=False))

    def next_object(self) -> None:
        """Keep the mask as it is, and begin another object, which is added to it."""
        self._edit(Draft(self._mask, np.zeros(self.size, bool)))

    def nothing_here(self) -> None:
        """Say that the photograph has nothing to segment: an empty mask is saved."""
        nothing = np.zeros(self.size, bool)
        self._edit(Draft(nothing, nothing, is_nothing=True))

    def accept(self) -> None:
        """Save the agent's proposal, if it is shown and not saved, or else an edit that could not be saved."""
        if self.shows_proposal:
            self._edit(replace(self.draft, is_nothing=not self._mask.any()))
        elif self.save_failed:
            self._save()

    def unlabel(self) -> None:
        """Take the photograph's mask away, also from the disk."""
        nothing = np.zeros(self.size, bool)
        self._edit(Draft(nothing, nothing))

    def undo(self) -> None:
        """Take the last edit back, also on the disk, down to what it held when the photograph was opened."""
        if self.edits:
            self._drafts.pop()
            self._mask = self.draft.mask()
            self._save()

    def keep_mine(self) -> None:
        """Overwrite a mask that has changed on disk."""
        self._content = self.project.masks.content(self.stem)
        self._save()

    def _prompt(self, draft: Draft) -> None:
        """Let SAM answer a draft's prompts; it sees what it answered before them."""
        if draft.can_be_answered:
            sam = self.project.sam
            points, before = draft.points, draft.logits
            if draft.start.any():
                points = (inner_point(draft.start, points), *points)
                before = sam.as_logits(draft.start) if before is None else before
            encoding = self.project.encoding(self.stem)
            draft = replace(draft, logits=sam.answer(encoding, self.size, points, draft.box, before))
        self._edit(draft)

    def _edit(self, draft: Draft) -> None:
        self._drafts.append(draft)
        self._mask = draft.mask()
        self._save()

    def _save(self) -> None:
        """Bring the disk up to the mask. An empty one is only saved where it was said that there is nothing."""
        masks = self.project.masks
        self.save_failed = True  # until all has gone well
        if not self.edits:
            masks.put(self.stem, self._content_before, self._content)
            self._content = self._content_before
        elif self._mask.any() or self.draft.is_nothing:
            self._content = masks.write(self.stem, self._mask, self._content)
        else:
            masks.put(self.stem, None, self._content)
            self._content = None
        if self.proposal is not None and self._proposer is not None:
            iou = iou_of(self.proposal, self._mask)
            self.project.outcomes.record(self._proposer, self.stem, None if self._content is None else iou)
        self.save_failed = False
