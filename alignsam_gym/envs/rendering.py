"""Pictures of an episode."""

from __future__ import annotations

import sys

import cv2
import numpy as np
import torch
from torch.nn import functional as F

from alignsam_gym.envs.episode import Episode
from alignsam_gym.errors import OptionError
from alignsam_gym.foundation.sam.batched_decoder import PADDING

RENDER_MODES = ["rgb_array", "human"]
RENDER_FPS = 2
PANEL = 400
"""Side of a panel in pixels."""

# Two colours that the common forms of colour blindness tell apart; shapes tell the labels apart without any.
TRUTH, ANSWER = (240, 228, 66), (0, 158, 115)
_POSITIVE, _NEGATIVE = (0, 90, 200), (213, 94, 0)
_WHITE = (255, 255, 255)


def render_row(episode: Episode, row: int) -> np.ndarray:
    """Image, ground truth, and SAM's answer with the prompts so far, side by side: uint8 (400, 1200, 3) RGB.

    Positive prompts are discs, negative ones squares; each bears its number, the initial pair "0".
    """
    sample = episode.encoded.dataset[int(episode.index[row])]
    answer = upsample(episode.logits[row], (PANEL, PANEL))
    image = cv2.resize(sample.image, (PANEL, PANEL), interpolation=cv2.INTER_AREA)
    truth = cv2.resize(sample.mask.astype(np.uint8), (PANEL, PANEL), interpolation=cv2.INTER_NEAREST) > 0
    panels = [image, overlay(image, truth, TRUTH), draw_answer(episode, row, image, answer)]
    return np.concatenate(panels, axis=1)


def draw_answer(episode: Episode, row: int, image: np.ndarray, answer: np.ndarray) -> np.ndarray:
    """`image` (PANEL, PANEL, 3) with the answer (bool) and the numbered prompts of a row drawn on it."""
    picture = overlay(image, answer, ANSWER)
    scale = PANEL / episode.rules.grid.image_size
    points, labels = episode.points[row].cpu().numpy(), episode.labels[row].cpu().numpy()
    for slot in np.flatnonzero(labels != PADDING):
        x, y = (points[slot] * scale).astype(int).tolist()
        mark(picture, (x, y), bool(labels[slot]), str(max(0, slot - 1)))
    return picture


def upsample(logits: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
    """Low-resolution logits (h, w) as a mask, bool (H, W): upsampled, then cut at zero."""
    return (upsampled_logits(logits, size) > 0).cpu().numpy()


def upsampled_logits(logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Logits float (h, w) at another size, float (H, W)."""
    return F.interpolate(logits[None, None], size, mode="bilinear", align_corners=False)[0, 0]


def overlay(image: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """A copy of `image` with `mask` tinted and outlined."""
    picture = image.copy()
    tinted = (0.5 * np.arange(256)[:, None] + 0.5 * np.array(colour)).astype(np.uint8)
    picture[mask] = np.take_along_axis(tinted, picture[mask], axis=0)  # a table, as large pictures fill the memory
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(picture, outlines, -1, _WHITE, 1, cv2.LINE_AA)


def mark(picture: np.ndarray, at: tuple[int, int], positive: bool, name: str, radius: int = 9) -> None:
    """Draw a prompt on `picture`: a disc if it is positive, else a square, with its name in it."""
    x, y = at
    line = max(1, radius // 8)
    if positive:
        cv2.circle(picture, at, radius, _POSITIVE, cv2.FILLED, cv2.LINE_AA)
        cv2.circle(picture, at, radius, _WHITE, line, cv2.LINE_AA)
    else:
        corners = (x - radius, y - radius), (x + radius, y + radius)
        cv2.rectangle(picture, *corners, _NEGATIVE, cv2.FILLED)
        cv2.rectangle(picture, *corners, _WHITE, line)
    font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.38 * radius / 9
    (width, height), _ = cv2.getTextSize(name, font, size, line)
    cv2.putText(picture, name, (x - width // 2, y + height // 2), font, size, _WHITE, line, cv2.LINE_AA)


def show(picture: np.ndarray) -> None:
    """Show a picture in a window. Raises OptionError where pygame or a display is missing."""
    try:
        import pygame
    except ImportError as error:
        raise OptionError("render_mode='human' needs pygame: pip install 'alignsam-gym[human]'.") from error
    size = picture.shape[1::-1]
    try:
        window = pygame.display.get_surface()
        if window is None or window.get_size() != size:
            pygame.display.init()
            window = pygame.display.set_mode(size)
            pygame.display.set_caption("AlignSAM-v0")
        pygame.surfarray.blit_array(window, picture.swapaxes(0, 1))
        pygame.event.pump()
        pygame.display.flip()
    except pygame.error as error:
        raise OptionError(
            f"render_mode='human' needs a display ({error}); render_mode='rgb_array' does not."
        ) from error


def close_window() -> None:
    """Close what `show` opened, if anything."""
    if pygame := sys.modules.get("pygame"):
        pygame.display.quit()
