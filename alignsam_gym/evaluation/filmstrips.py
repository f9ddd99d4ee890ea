"""Learning curves and filmstrips, as PNG files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from alignsam_gym.agents.callbacks import CURVES
from alignsam_gym.envs.episode import Episode
from alignsam_gym.envs.rendering import PANEL, TRUTH, draw_answer, overlay, upsample
from alignsam_gym.evaluation.prompting_evaluation import prompt
from alignsam_gym.evaluation.prompting_strategies import PromptingStrategy, played_by

_SHOWN = (0, 1, 2, 3, 5, 8, 11, 15)


def learning_curve(history: list[dict[str, float]], path: Path) -> None:
    """Reward, FR, repeated actions and final IoU over the timesteps of training."""
    figure, axes = plt.subplots(1, len(CURVES), figsize=(3.6 * len(CURVES), 3), layout="constrained")
    for axis, name in zip(axes, CURVES, strict=True):
        axis.plot([record["timesteps"] for record in history], [record[name] for record in history], marker=".")
        axis.set(title=name.replace("_", " "), xlabel="steps")
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def filmstrip(episode: Episode, indices: list[int], strategies: Mapping[str, PromptingStrategy], path: Path) -> None:
    """A row for each image and way of prompting: ground truth, then SAM's answer after some numbers of prompts."""
    rows = [
        row for way in zip(*(_strips(episode, indices, *way) for way in strategies.items()), strict=True) for row in way
    ]
    columns = max(map(len, rows))
    figure, axes = plt.subplots(
        len(rows), columns, figsize=(2.2 * columns, 2.5 * len(rows)), layout="constrained", squeeze=False
    )
    for axis in axes.flat:
        axis.axis("off")
    for line, row in zip(axes, rows, strict=True):
        for axis, (title, picture) in zip(line, row, strict=False):
            axis.imshow(picture)
            axis.set_title(title, fontsize=8)
    figure.suptitle("Discs are positive prompts, squares negative ones; 0 marks the initial pair.", fontsize=9)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _strips(
    episode: Episode, indices: list[int], name: str, way: PromptingStrategy
) -> list[list[tuple[str, np.ndarray]]]:
    """For each image titled pictures, uint8 (PANEL, PANEL, 3)."""
    strips: dict[int, list[tuple[str, np.ndarray]]] = {}

    def draw(episode: Episode, step: int, batch: list[int]) -> None:
        for row, index in enumerate(batch):
            sample = episode.encoded.dataset[index]
            image = cv2.resize(sample.image, (PANEL, PANEL), interpolation=cv2.INTER_AREA)
            if step == 0:
                mask = cv2.resize(sample.mask.astype(np.uint8), (PANEL, PANEL), interpolation=cv2.INTER_NEAREST) > 0
                strips[index] = [(f"{sample.id}, {name}\nground truth", overlay(image, mask, TRUTH))]
            if step in _SHOWN or step == episode.rules.max_steps:
                answer = upsample(episode.logits[row], (PANEL, PANEL))
                title = f"t = {step}, IoU {float(episode.iou[row]):.2f}"
                strips[index].append((title, draw_answer(episode, row, image, answer)))

    with played_by(episode, way.rules):
        prompt(episode, indices, way.prompter, draw)
    return [strips[index] for index in indices]
