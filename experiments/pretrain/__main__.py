"""Trains one of the embedded models on drawn scenes and real photographs, and measures it on others.

    python -m experiments.pretrain model=sam photographs=<folder> voc_val=<VOC2012>
    python -m experiments.pretrain model=clip photographs=<folder> voc_val=<VOC2012>

How each is trained is in `alignsam_gym.experiments.pretrain`. With ``steps=0`` and ``init=<weights>``, weights are
only measured.
"""

from __future__ import annotations

import json
import logging
import time
from importlib import import_module
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import nn

from alignsam_gym.experiments.hydra_command import hydra_command
from alignsam_gym.experiments.pretrain.scores import voc_files

log = logging.getLogger(__name__)


@hydra_command("pretrain")
def main(config: DictConfig) -> None:
    """Train the model that ``model`` names, as conf/pretrain.yaml documents it, and write weights and scores."""
    recipe = import_module(f"alignsam_gym.experiments.pretrain.pretrain_{config.model}")
    output, started = Path(config.output), time.time()
    voc_files(Path(config.voc_val))  # which are valid much later

    def report(step: int, model: nn.Module) -> None:
        recipe.save(model, output)  # first: it took hours
        scores = recipe.score(model, config)
        log.info("held out: %s", json.dumps(scores))
        record = {"step": step, "minutes": round((time.time() - started) / 60, 1), "scores": scores}
        (output / "scores.json").write_text(json.dumps(record, indent=2))

    torch.manual_seed(config.seed)
    model = recipe.build(config)
    if not config.steps:
        return report(0, model)
    pictures = recipe.pictures(config)
    trainer = recipe.Trainer(model, config)
    started = time.time()
    for step, batch in enumerate(pictures, start=1):
        losses = trainer.step(batch)
        if step % config.log_every == 0:
            losses = "  ".join(f"{name} {value:.3f}" for name, value in losses.items())
            log.info("step %d  %.2f s/step  %s", step, (time.time() - started) / step, losses)
        if step % config.score_every == 0 or step == config.steps:
            report(step, trainer.average.module)


if __name__ == "__main__":
    main()
