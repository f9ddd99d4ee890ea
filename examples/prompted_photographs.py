"""A trained agent on photographs that have no masks: SAM's masks and the prompts after 0, 1, 5 and 15 prompts.

    pip install -e ".[examples]"
    python examples/prompted_photographs.py --run outputs/train/<date> --output photographs.png

The photographs are scikit-image's. Of those in its package, these are all that are in colour, show a thing in its
surroundings, and are in the public domain or under CC0, as its documentation says.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from skimage import data

from alignsam_gym import AlignSAM
from alignsam_gym.envs.rendering import ANSWER_COLOUR, mark, overlay
from alignsam_gym.figure_files import Figure
from alignsam_gym.transforms import resize_image, resize_mask

PHOTOGRAPHS = {
    "astronaut": data.astronaut,  # NASA, public domain
    "cat": data.chelsea,  # Stéfan van der Walt, CC0
    "coffee": data.coffee,  # Rachel Michetti, CC0
    "rocket": data.rocket,  # SpaceX, public domain
}
SHOWN = (0, 1, 5, 15)
_WIDTH = 320  # of a panel, in pixels


def prompt_photographs(agent: AlignSAM) -> dict[str, list[np.ndarray]]:
    """Let the agent prompt each photograph: itself, and its mask and prompts after each number of `SHOWN`."""
    session = agent.session()
    strips = {}
    for name, load in PHOTOGRAPHS.items():
        photograph = load()
        height, width = photograph.shape[:2]
        panel = resize_image(photograph, (round(height * _WIDTH / width), _WIDTH))
        session.set_image(photograph)
        while session.step():
            pass
        shown = [session.prediction(step=min(count, session.steps)) for count in SHOWN]
        strips[name] = [panel, *(_draw(panel, each.mask, each.points * _WIDTH / width, each.labels) for each in shown)]
    return strips


def _draw(panel: np.ndarray, mask: np.ndarray, points: np.ndarray, labels: np.ndarray) -> np.ndarray:
    picture = overlay(panel, resize_mask(mask, (panel.shape[0], panel.shape[1])), ANSWER_COLOUR)
    for number, ((x, y), label) in enumerate(zip(points.astype(int).tolist(), labels, strict=True)):
        mark(picture, (x, y), bool(label), str(max(0, number - 1)))  # 0 marks both of the initial pair
    return picture


def draw_strips(strips: dict[str, list[np.ndarray]], path: Path) -> None:
    """Write a picture with a row for each photograph."""
    titles = ["photograph", "initial pair", *(f"{count} prompt{'s' * (count > 1)}" for count in SHOWN[1:])]
    heights = [row[0].shape[0] for row in strips.values()]
    figure = Figure(figsize=(2 * len(titles), 2 * sum(heights) / _WIDTH + 0.4), layout="constrained")
    axes = figure.subplots(len(strips), len(titles), height_ratios=heights, squeeze=False)
    for line, row in zip(axes, strips.values(), strict=True):
        for axis, picture in zip(line, row, strict=True):
            axis.imshow(picture)
            axis.axis("off")
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=10)
    figure.savefig(path, dpi=120)


def main(arguments: Sequence[str] | None = None) -> dict[str, list[np.ndarray]]:
    """Prompt the photographs, write the picture, and return its panels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True, help="a run's folder or a bundle, of an agent that no text guides")
    parser.add_argument("--output", default="photographs.png", type=Path)
    args = parser.parse_args(arguments)
    strips = prompt_photographs(AlignSAM.from_pretrained(args.run))
    draw_strips(strips, args.output)
    return strips


if __name__ == "__main__":
    main()
