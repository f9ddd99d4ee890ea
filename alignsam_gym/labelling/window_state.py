"""What a window of the labelling page is told: its photograph, its mask as a picture, and how far the folder is."""

from __future__ import annotations

import base64
import io
import shlex
from typing import Any

import cv2
import numpy as np
from PIL import Image

from alignsam_gym.data.stored_mask import resize_nearest
from alignsam_gym.envs.rendering import ANSWER_COLOUR, TRUTH_COLOUR
from alignsam_gym.labelling.labelling_project import FEWEST_MASKS, LabellingProject
from alignsam_gym.labelling.labelling_session import LabellingSession
from alignsam_gym.transforms import resize_image

LONGEST_SIDE = 2048
"""A photograph whose longer side has more pixels is shown smaller. Its mask keeps its own size."""

_OUTLINE = 2  # in the palette, after nothing and the inside
_ALPHA = bytes([0, 110, 255])  # of nothing, of the inside, of the outline


def shown_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return the (H, W) at which a photograph of this (H, W) is shown."""
    scale = min(1.0, LONGEST_SIDE / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def photograph_jpeg(image: np.ndarray) -> bytes:
    """Encode a photograph, uint8 (H, W, 3) RGB, as it is shown."""
    shown = resize_image(image, shown_size((image.shape[0], image.shape[1])))
    _, content = cv2.imencode(".jpg", shown[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    return bytes(content.tobytes())


def mask_png(mask: np.ndarray, is_proposal: bool) -> bytes:
    """Draw a mask, bool (H, W), tinted and outlined on nothing; a proposal has another colour."""
    shown = resize_nearest(mask, shown_size((mask.shape[0], mask.shape[1]))).astype(np.uint8)
    inner = cv2.erode(shown, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=1)
    picture = Image.fromarray(np.where(shown > inner, _OUTLINE, shown).astype(np.uint8))
    picture.putpalette([0, 0, 0, *(TRUTH_COLOUR if is_proposal else ANSWER_COLOUR), 255, 255, 255])
    file = io.BytesIO()
    picture.save(file, "PNG", bits=2, transparency=_ALPHA)
    return file.getvalue()


def window_state(session: LabellingSession) -> dict[str, Any]:
    """Describe what a window shows. Lengths are in pixels of the photograph."""
    draft, (height, width) = session.draft, session.size
    order = list(session.project.folder.photographs)
    return {
        "stem": session.stem,
        "number": order.index(session.stem) + 1,
        "count": len(order),
        "width": width,
        "height": height,
        "points": [[point.x_px, point.y_px, point.positive] for point in draft.points],
        "box": draft.box,
        "edits": session.edits,
        "isSaved": session.is_saved,
        "isProposal": session.shows_proposal,
        "mask": "data:image/png;base64," + base64.b64encode(mask_png(session.mask, session.shows_proposal)).decode(),
        "sentence": sentence(session),
    }


def sentence(session: LabellingSession) -> str:
    """Say what a window shows, for those who cannot see it, too."""
    share = f"the mask covers {session.mask.mean():.1%}"
    if session.shows_proposal:
        return f"Proposed, not saved: {share}. Enter accepts it."
    if session.save_failed:
        return f"Not saved: {share}. Enter tries again."
    if not session.is_saved:
        return "No mask yet."
    return f"Saved: {share}." if session.mask.any() else "Saved: nothing here."


def project_state(project: LabellingProject) -> dict[str, Any]:
    """Describe where the labelling stands, for the page's second column."""
    photographs = project.folder.photographs
    rest = project.unlabelled()
    training, outcomes = project.training.status(), project.outcomes.summary()
    labelled = len(photographs) - len(rest)
    made = len(project.proposals.doubts().keys() & set(rest)) if project.proposals else None
    return {
        "labelled": labelled,
        "count": len(photographs),
        "fewest": FEWEST_MASKS,
        "canTrain": training.state != "running" and project.can_train(),
        "training": training._asdict(),
        "agent": project.outcomes.agent,
        "problem": project.problem,
        "proposals": {"made": made, "rest": len(rest)},
        "outcomes": outcomes._asdict(),
        "command": training_command(project),
    }


def training_command(project: LabellingProject) -> str:
    """Return the command that trains on the masks, as it is typed."""
    return f"alignsam train {shlex.join(project.training_options)}"
