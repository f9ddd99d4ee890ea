"""Learning curves of a training and filmstrips of episodes, as PNG files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from alignsam_gym.agents.callbacks import CURVES
from alignsam_gym.data.stored_mask import resize_nearest
from alignsam_gym.envs.episode import Episode
from alignsam_gym.envs.rendering import PANEL, TRUTH_COLOUR, draw_answer, overlay
from alignsam_gym.evaluation.prompting_evaluation import prompt
from alignsam_gym.evaluation.prompting_strategies import PromptingStrategy, played_by
from alignsam_gym.figure_files import Figure
from alignsam_gym.transforms import resize_image

_SHOWN = (0, 1, 2, 3, 5, 8, 11, 15)


def learning_curve(history: list[dict[str, float]], path: Path) -> None:
    """Plot reward, FR, repeated actions and final IoU over the timesteps of training.

    Args:
        history: The means of each rollout, and its timesteps.
        path: PNG file to write.
    """
    figure = Figure(figsize=(3.6 * len(CURVES), 3), layout="constrained")
    axes = figure.subplots(1, len(CURVES))
    for axis, name in zip(axes, CURVES, strict=True):
        axis.plot([record["timesteps"] for record in history], [record[name] for record in history], marker=".")
        axis.set(title=name.replace("_", " "), xlabel="steps")
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def filmstrip(episode: Episode, indices: list[int], strategies: Mapping[str, PromptingStrategy], path: Path) -> None:
    """Draw a row for each image and prompting strategy: ground truth, then the answer after some numbers of prompts.

    Args:
        episode: Prompts SAM on the images, with its own rules, SRM and models.
        indices: The images' places in the episode's data set.
        strategies: The prompting strategies, by their names in the picture.
        path: PNG file to write.
    """
    strips = [_strips(episode, indices, name, strategy) for name, strategy in strategies.items()]
    rows = [row for rows_of_image in zip(*strips, strict=True) for row in rows_of_image]
    columns = max(map(len, rows))
    figure = Figure(figsize=(2.2 * columns, 2.5 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for line, row in zip(axes, rows, strict=True):
        for axis, (title, picture) in zip(line, row, strict=False):
            axis.imshow(picture)
            axis.set_title(title, fontsize=8)
    figure.suptitle("Discs are positive prompts, squares negative ones; 0 marks the initial pair.", fontsize=9)
    figure.savefig(path, dpi=130)


def _strips(
    episode: Episode, indices: list[int], name: str, strategy: PromptingStrategy
) -> list[list[tuple[str, np.ndarray]]]:
    """For each image, pictures uint8 (400, 400, 3) with their titles."""
    images: dict[int, np.ndarray] = {}
    strips: dict[int, list[tuple[str, np.ndarray]]] = {}

    def draw(episode: Episode, step: int, batch: list[int]) -> None:
        if step not in _SHOWN and step != episode.rules.max_steps:
            return
        for row, index in enumerate(batch):
            if step == 0:
                sample = episode.encoded.dataset[index]
                images[index] = resize_image(sample.image, PANEL)
                truth = overlay(images[index], resize_nearest(sample.mask, PANEL), TRUTH_COLOUR)
                strips[index] = [(f"{sample.id}, {name}\nground truth", truth)]
            title = f"t = {step}, IoU {float(episode.iou[row]):.2f}"
            strips[index].append((title, draw_answer(episode, row, images[index])))

    with played_by(episode, strategy.rules):
        prompt(episode, indices, strategy.prompter, draw)
    return [strips[index] for index in indices]
