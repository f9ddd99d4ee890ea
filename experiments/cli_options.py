"""What several of the commands of `alignsam` take on their command line."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from alignsam_gym.errors import OptionError


def path(text: str) -> Path:
    """Read an option's path. In ``--out=~/masks`` no shell puts the home folder in."""
    return Path(text).expanduser()


Run = Annotated[Path, typer.Argument(metavar="RUN", help="A training's folder, or a bundle: a folder or one file.")]
Sam = Annotated[str | None, typer.Option(help="Checkpoint or hf:…, where the agent's own is a file, or not here.")]
Clip = Annotated[str | None, typer.Option(help="ARCHITECTURE/WEIGHTS, where the agent's own is a file, or not here.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps, …")]


class Format(StrEnum):
    """What predictions are written as."""

    mask = "mask"
    probability = "probability"
    overlay = "overlay"
    video = "video"
    coco = "coco"
    yolo = "yolo"
    yolo_scores = "yolo-scores"

    def check_one_file_an_image(self) -> None:
        """Raise `OptionError` if this puts several images into one file, which several commands cannot share."""
        if self is Format.coco:
            raise OptionError("--format coco writes one file of all images; with --shard take --format yolo or mask.")
        if self is Format.video:
            raise OptionError(
                "--format video may make one video of a folder's images; with --shard take --format overlay, or name "
                "some of the videos in each command instead."
            )
