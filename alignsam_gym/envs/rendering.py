"""Pictures of an episode, and the window that shows them."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

import cv2
import numpy as np

from alignsam_gym.data.stored_mask import resize_nearest
from alignsam_gym.envs.episode import Episode
from alignsam_gym.envs.initial_prompts import INITIAL_PROMPTS
from alignsam_gym.errors import OptionError
from alignsam_gym.foundation.sam.batched_decoder import PADDING
from alignsam_gym.transforms import frame_to_image, mask_from_logits, resize_image

RENDER_MODES = ["rgb_array", "human"]
RENDER_FPS = 2
PANEL = (400, 400)
"""Height and width of a panel in pixels."""

# Two colours that the common forms of colour blindness tell apart; shapes tell the labels apart without any.
TRUTH_COLOUR, ANSWER_COLOUR = (240, 228, 66), (0, 158, 115)
_POSITIVE, _NEGATIVE = (0, 90, 200), (213, 94, 0)
_WHITE = (255, 255, 255)


def render_row(episode: Episode, row: int) -> np.ndarray:
    """Draw the image, its ground truth, and the answer with the prompts so far, side by side.

    Positive prompts are discs, negative ones squares. Each bears its number; that of the initial pair is 0.

    Returns:
        uint8 (400, 1200, 3), RGB.
    """
    sample = episode.encoded.dataset[int(episode.index[row])]
    image = resize_image(sample.image, PANEL)
    truth = overlay(image, resize_nearest(sample.mask, PANEL), TRUTH_COLOUR)
    return np.concatenate([image, truth, draw_answer(episode, row, image)], axis=1)


def draw_answer(episode: Episode, row: int, image: np.ndarray) -> np.ndarray:
    """Draw the answer and the numbered prompts of a row on its image, uint8 (400, 400, 3); returns a copy."""
    picture = overlay(image, mask_from_logits(episode.answers[row], PANEL), ANSWER_COLOUR)
    points_panel = frame_to_image(episode.points[row], episode.rules.grid.image_size, PANEL).cpu().numpy()
    labels = episode.labels[row].cpu().numpy()
    for slot in np.flatnonzero(labels != PADDING):
        x, y = points_panel[slot].astype(int).tolist()
        mark(picture, (x, y), bool(labels[slot]), str(max(0, slot - INITIAL_PROMPTS + 1)))
    return picture


def overlay(image: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Tint and outline a mask on a copy of an image.

    Args:
        image: uint8 (H, W, 3), RGB.
        mask: bool (H, W).
        colour: RGB of the tint, which covers the image by half.
    """
    picture = image.copy()
    tinted = (0.5 * np.arange(256)[:, None] + 0.5 * np.array(colour)).astype(np.uint8)
    picture[mask] = np.take_along_axis(tinted, picture[mask], axis=0)  # a table, as large pictures fill the memory
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, outlines, -1, _WHITE, 1, cv2.LINE_AA)
    return picture


def mark(picture: np.ndarray, at: tuple[int, int], positive: bool, name: str, radius: int = 9) -> None:
    """Draw a prompt into `picture` at (x, y): a disc if it is positive, else a square, with its name in it."""
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
    """Show a picture, uint8 (H, W, 3) RGB, in a window; at most `RENDER_FPS` in a second, so that each can be seen.

    Raises:
        OptionError: pygame or a display is missing.
    """
    try:
        import pygame
    except ImportError as error:
        raise OptionError("render_mode='human' needs pygame: pip install 'alignsam-gym[human]'.") from error
    size = (picture.shape[1], picture.shape[0])
    try:
        window = pygame.display.get_surface()
        if window is None or window.get_size() != size:
            pygame.display.init()
            window = pygame.display.set_mode(size)
            pygame.display.set_caption("AlignSAM-v0")
        pygame.surfarray.blit_array(window, picture.swapaxes(0, 1))
        pygame.event.pump()
        pygame.display.flip()
        _clock().tick(RENDER_FPS)
    except pygame.error as error:
        raise OptionError(
            f"render_mode='human' needs a display ({error}); render_mode='rgb_array' does not."
        ) from error


@cache
def _clock() -> Any:
    """Return the clock that all pictures keep to."""
    import pygame

    return pygame.time.Clock()


def close_window() -> None:
    """Close the window that `show` opened, if there is one."""
    pygame = sys.modules.get("pygame")
    if pygame:
        pygame.display.quit()
