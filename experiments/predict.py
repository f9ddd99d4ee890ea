"""Masks for images that have none, by a trained agent.

python -m experiments.predict run=<dir> images=photo.jpg
python -m experiments.predict run=<dir> images=photos/ output=masks/
"""

from __future__ import annotations

import logging
from pathlib import Path

import hydra
from omegaconf import DictConfig

from agents.predictor import AlignSAM, Prediction
from alignsam_gym.errors import DataError
from experiments.predictions import find_images, mask_writer, overlay_writer, predict_files
from experiments.runs import report_errors

log = logging.getLogger(__name__)


@hydra.main(version_base="1.3", config_path="../conf", config_name="predict")
@report_errors
def main(config: DictConfig) -> None:
    agent = AlignSAM.from_run(config.run, device=config.device, batch_size=config.batch_size)
    output = Path(config.output)
    masks, overlays = output / "masks", output / "overlays"
    mask, picture = mask_writer(masks), overlay_writer(overlays)

    def write(name: str, file: Path, prediction: Prediction) -> None:
        mask(name, file, prediction)
        picture(name, file, prediction)

    written, skipped = predict_files(agent, find_images([Path(config.images)], [masks, overlays]), write, config.text)
    for problem in skipped:
        log.warning("Skipped: %s", problem)
    if not written:
        raise DataError(f"None of the images in {config.images} could be read.")
    log.info("%d masks and overlays are in %s", written, output)


if __name__ == "__main__":
    main()
