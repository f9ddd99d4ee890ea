"""Masks for images that have none, by a trained agent.

python -m experiments.predict run=<dir> images=photo.jpg
python -m experiments.predict run=<dir> images=photos/ output=masks/
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import hydra
import numpy as np
from omegaconf import DictConfig

from alignsam_gym.data.images import SUFFIXES, read_image
from alignsam_gym.data.samples import Sample
from alignsam_gym.envs.episode import Episode
from alignsam_gym.envs.rendering import overlay, upsample
from alignsam_gym.errors import DataError
from experiments.evaluation import AgentPrompter, prompt
from experiments.masks import write_mask, write_picture
from experiments.runs import load_config, load_run, report_errors

log = logging.getLogger(__name__)
_TINT = (0, 158, 115)


class Images:
    """Images without ground truth, as a data set whose masks are empty. text: what to look for, or None."""

    name = "images"

    def __init__(self, source: Path, text: str | None) -> None:
        self.text = text
        if not source.exists():
            raise DataError(f"There is no file or folder {source}.")
        found = sorted(source.rglob("*")) if source.is_dir() else [source]
        self.files = [file for file in found if file.suffix.lower() in SUFFIXES]
        if not self.files:
            raise DataError(f"{source} holds no PNG, JPEG or BMP file.")
        base = source if source.is_dir() else source.parent
        self.ids: Sequence[str] = [file.relative_to(base).with_suffix("").as_posix() for file in self.files]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        image = read_image(self.files[index])
        return Sample(self.ids[index], image, np.zeros(image.shape[:2], bool), text=self.text)


@hydra.main(version_base="1.3", config_path="../conf", config_name="predict")
@report_errors
def main(config: DictConfig) -> None:
    images = Images(Path(config.images), config.text or load_config(Path(config.run)).dataset.get("text"))
    changes = {"device": config.device, "evaluate.batch_size": config.batch_size, "evaluate.max_steps": None}
    _, env, policy = load_run(Path(config.run), changes, samples=images)
    output = Path(config.output)
    written = 0

    def write(episode: Episode, step: int, batch: list[int]) -> None:
        nonlocal written
        if step < episode.rules.max_steps:
            return
        for row, index in enumerate(batch):
            sample = images[index]
            mask = upsample(episode.logits[row], sample.mask.shape)
            write_mask(output / "masks", sample.id, mask)
            write_picture(output / "overlays", sample.id, overlay(sample.image, mask, _TINT))
            written += 1

    prompt(env.episode, list(range(len(images))), AgentPrompter(policy, deterministic=True), write)
    log.info("%d masks and overlays are in %s", written, output)


if __name__ == "__main__":
    main()
