"""Trains an embedded model, or the prompting policy, on drawn scenes and photographs, and measures it on others.

    python -m experiments.pretrain model=sam photographs=<folder> voc_val=<VOC2012>
    python -m experiments.pretrain model=clip photographs=<folder> voc_val=<VOC2012>
    python -m experiments.pretrain model=policy photographs=<folder> more_photographs=<folder>

How each is trained is in `alignsam_gym.experiments.pretrain`. Called again with the same options, a training goes on
from the last state in its output folder. With ``steps=0`` and ``init=<weights>``, weights are only measured.
"""

from __future__ import annotations

import json
import logging
import time
from importlib import import_module
from pathlib import Path
from statistics import mean

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
    if config.voc_val:
        voc_files(Path(config.voc_val))  # which are scored much later

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
    trainer = recipe.Trainer(model, config)
    state = output / "state.pt"
    if state.exists():
        trainer.optimiser.load(state)
        log.info("going on after step %d", trainer.optimiser.steps)
    first = trainer.optimiser.steps
    if first >= config.steps:
        return report(first, trainer.average.module)
    torch.manual_seed(config.seed + first)  # other images than the first ones again
    pictures = recipe.pictures(config, config.steps - first)
    started, latest = time.time(), []
    for step, batch in enumerate(pictures, start=first + 1):
        latest.append(trainer.step(batch))
        if step % config.log_every == 0:
            names = sorted({name for each in latest for name in each})
            means = "  ".join(f"{name} {mean([each[name] for each in latest if name in each]):.3f}" for name in names)
            log.info("step %d  %.2f s/step  %s", step, (time.time() - started) / (step - first), means)
            latest = []
        if step % config.save_every == 0 or step == config.steps:
            trainer.optimiser.save(state)
        if step % config.score_every == 0 or step == config.steps:
            report(step, trainer.average.module)


if __name__ == "__main__":
    main()
