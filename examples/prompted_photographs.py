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
from alignsam_gym.agents.sample_picture import draw_strips, prompt_photographs

PHOTOGRAPHS = {
    "astronaut": data.astronaut,  # NASA, public domain
    "cat": data.chelsea,  # Stéfan van der Walt, CC0
    "coffee": data.coffee,  # Rachel Michetti, CC0
    "rocket": data.rocket,  # SpaceX, public domain
}


def main(arguments: Sequence[str] | None = None) -> list[list[np.ndarray]]:
    """Prompt the photographs, write the picture, and return its panels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True, help="a run's folder or a bundle, of an agent that no text guides")
    parser.add_argument("--output", default="photographs.png", type=Path)
    args = parser.parse_args(arguments)
    strips = prompt_photographs(AlignSAM.from_pretrained(args.run), [load() for load in PHOTOGRAPHS.values()])
    draw_strips(strips, args.output)
    return strips


if __name__ == "__main__":
    main()
