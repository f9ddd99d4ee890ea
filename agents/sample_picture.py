"""A picture of what an agent makes of a few photographs: the masks and the prompts after some numbers of prompts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from alignsam_gym.agents.pretrained import AlignSAM
from alignsam_gym.data.stored_mask import resize_nearest
from alignsam_gym.envs.prompting_session import ImageLike, read_pixels
from alignsam_gym.envs.rendering import ANSWER_COLOUR, mark, overlay
from alignsam_gym.figure_files import Figure
from alignsam_gym.transforms import resize_image

SHOWN = (0, 1, 5, 15)
"""Numbers of prompts after the initial pair; an agent that gives fewer is shown at its last."""
_WIDTH = 320  # of a panel, in pixels


def prompt_photographs(agent: AlignSAM, photographs: Sequence[ImageLike]) -> list[list[np.ndarray]]:
    """Let an agent prompt each photograph.

    Args:
        agent: A trained one. If a text guides it, it must be trained for one text.
        photographs: Of any size.

    Returns:
        For each, pictures uint8 (h, 320, 3): itself, and its mask and prompts after each number of `SHOWN`.
    """
    session = agent.session()
    strips = []
    for photograph in photographs:
        pixels = read_pixels(photograph, agent.config.intensity_range)
        height, width = pixels.shape[:2]
        panel = resize_image(pixels, (max(1, round(height * _WIDTH / width)), _WIDTH))
        session.set_image(pixels)
        while session.step():
            pass
        shown = [session.prediction(step=min(count, session.steps)) for count in SHOWN]
        strips.append([panel, *(_draw(panel, each.mask, each.points * _WIDTH / width, each.labels) for each in shown)])
    return strips


def draw_strips(strips: Sequence[Sequence[np.ndarray]], path: Path) -> None:
    """Write a PNG file with a row for each photograph, of what `prompt_photographs` returns; its folder is made."""
    titles = ["photograph", "initial pair", *(f"{count} prompt{'s' * (count > 1)}" for count in SHOWN[1:])]
    heights = [row[0].shape[0] for row in strips]
    figure = Figure(figsize=(2 * len(titles), 2 * sum(heights) / _WIDTH + 0.4), layout="constrained")
    axes = figure.subplots(len(strips), len(titles), height_ratios=heights, squeeze=False)
    for line, row in zip(axes, strips, strict=True):
        for axis, picture in zip(line, row, strict=True):
            axis.imshow(picture)
            axis.axis("off")
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def _draw(panel: np.ndarray, mask: np.ndarray, points: np.ndarray, labels: np.ndarray) -> np.ndarray:
    picture = overlay(panel, resize_nearest(mask, (panel.shape[0], panel.shape[1])), ANSWER_COLOUR)
    for number, ((x, y), label) in enumerate(zip(points.astype(int).tolist(), labels, strict=True)):
        mark(picture, (x, y), bool(label), str(max(0, number - 1)))  # 0 marks both of the initial pair
    return picture
