"""An episode as a file: a picture of each step, as GIF or MP4."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from alignsam_gym.data.mask_files import write_file
from alignsam_gym.data.video_files import VideoFile
from alignsam_gym.envs.rendering import RENDER_FPS

FORMATS = ("GIF", "MP4")
_HELD = 4  # pictures' time that the last one stays
_GAP = 8  # pixels between two pictures


def side_by_side(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Join pictures, uint8 (h, w, 3) each, with white between them."""
    first, *others = pictures
    gap = np.full((first.shape[0], _GAP, 3), 255, np.uint8)
    return np.concatenate([first, *(part for other in others for part in (gap, other))], axis=1)


def save_episode(frames: Sequence[np.ndarray], file: Path) -> None:
    """Write an episode, `RENDER_FPS` steps a second; the last stays longer.

    Args:
        frames: uint8 (h, w, 3), RGB, one for each step.
        file: Ends in .gif or .mp4.

    Raises:
        DataError: It cannot be written.
    """
    if file.suffix == ".mp4":
        video = VideoFile(file, RENDER_FPS, (frames[0].shape[0], frames[0].shape[1]))
        try:
            for frame in [*frames, *[frames[-1]] * (_HELD - 1)]:
                video.write(frame)
            video.save()
        finally:
            video.discard()  # what is not whole
        return
    first, *others = [Image.fromarray(frame) for frame in frames]
    duration = 1000 // RENDER_FPS
    durations = [duration] * len(others) + [duration * _HELD]
    content = io.BytesIO()
    first.save(content, "GIF", save_all=True, append_images=others, duration=durations, loop=0)
    write_file(file, content.getvalue())
