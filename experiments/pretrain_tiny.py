"""Trains the embedded SAM on drawn scenes and real photographs, with simulated clicks.

Each step clicks on targets twice. The first answer is prompted by one positive point, or by the pair that
begins an AlignSAM episode; the second by up to 17 points, most drawn from the first answer's error, as SAM
was trained, and some from anywhere with their true label, as an agent's may be.

    python -m experiments.pretrain_tiny photographs=<folder> voc_val=<VOC2012>
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import hydra
import torch
from omegaconf import DictConfig
from safetensors.torch import load_file, save_file
from segment_anything.modeling import Sam
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, RandomSampler

from alignsam_gym.foundation import decoder
from alignsam_gym.foundation.decoder import PADDING, decode
from alignsam_gym.foundation.tiny.model import EMBED_DIM, INPUT_SIZE, build_tiny_sam
from experiments.pretraining.clicks import sample_clicks
from experiments.pretraining.images import VOID, Photographs, Picture, Scenes, seed_worker
from experiments.pretraining.scores import click_curve, scene_targets, voc_targets
from experiments.runs import report_errors

log = logging.getLogger(__name__)
CLASSES = 21
COUNTS = (1, 2, 4, 8, 15)


@hydra.main(version_base="1.3", config_path="../conf", config_name="pretrain_tiny")
@report_errors
def main(config: DictConfig) -> None:
    torch.manual_seed(config.seed)
    output = Path(config.output)
    sam = build_tiny_sam()
    if config.init:
        sam.load_state_dict(load_file(config.init))
    photographs = Photographs(Path(config.photographs), config.targets)
    scenes = Scenes(config.scenes, config.targets, config.workers)
    batches = zip(_batches(scenes, config), _batches(photographs, config), strict=True)
    trainer = Trainer(sam, config)
    started = time.time()
    for step, (drawn, taken) in enumerate(batches, start=1):
        losses = trainer.step(_joined(drawn, taken))
        if step % config.log_every == 0:
            report = "  ".join(f"{name} {value:.3f}" for name, value in losses.items())
            log.info("step %d  %.2f s/step  %s", step, (time.time() - started) / step, report)
        if step % config.score_every == 0 or step == config.steps:
            scores = score(trainer.average.module, config)
            log.info("held out: %s", json.dumps(scores))
            save(trainer.average.module, output / "sam_tiny.safetensors")
            record = {"step": step, "minutes": round((time.time() - started) / 60, 1), "scores": scores}
            (output / "scores.json").write_text(json.dumps(record, indent=2))


class Trainer:
    """The optimiser's side: losses, schedule and the running average of weights."""

    def __init__(self, sam: Sam, config: DictConfig) -> None:
        self.sam, self.config = sam, config
        self.classifier = nn.Conv2d(EMBED_DIM, CLASSES, 1)
        self.average = AveragedModel(sam, multi_avg_fn=_warm_average(config.ema), use_buffers=True)
        parameters = [*sam.parameters(), *self.classifier.parameters()]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in parameters if p.ndim > 1]},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(
            groups,
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            betas=(0.9, 0.98),
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            max_lr=config.learning_rate,
            total_steps=config.steps,
            pct_start=config.warmup / config.steps,
            cycle_momentum=False,
        )
        if config.compile:  # the two parts of the decoder that dominate a step, at one shape
            decoder._two_way = torch.compile(decoder._two_way)
            decoder._upscaled = torch.compile(decoder._upscaled)
        half = config.precision == "bfloat16"
        self.autocast = (lambda: torch.autocast("cpu", torch.bfloat16)) if half else nullcontext

    def step(self, batch: Picture) -> dict[str, float]:
        """One update; returns the losses and the IoU of both passes."""
        self.sam.train()
        image, targets, classes = batch
        owner = torch.arange(len(image)).repeat_interleave(targets.shape[1])
        full = targets.flatten(0, 1)
        low = F.avg_pool2d(full[:, None].float(), 2)[:, 0]
        target = low > 0.5
        with self.autocast():
            features = self.sam.image_encoder(self.sam.preprocess(image.float()))
            semantic = self._semantic(features, classes)
            embeddings = features[owner]
            points, labels = self._first_clicks(target)
            several = bool(torch.rand(()) < self.config.multimask)
            first, first_iou = self._decode(embeddings, points, labels, multimask=several)
            loss_first, best = mask_loss(first, first_iou, target)
            points, labels = self._later_clicks(embeddings, points, labels, best, target)
            dense = best[:, None] if torch.rand(()) < self.config.mask_input else None
            second, second_iou = self._decode(embeddings, points, labels, dense)
            loss_second, answer = mask_loss(second, second_iou, target)
            loss = loss_first + loss_second + self.config.semantic_weight * semantic
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.sam.parameters(), self.config.clip_norm)
        self.optimizer.step()
        self.schedule.step()
        self.average.update_parameters(self.sam)
        half = len(target) // 2  # scenes come first
        return {
            "loss": loss.item(),
            "semantic": semantic.item(),
            "scene_iou_first": _iou(best[:half] > 0, target[:half]),
            "scene_iou_second": _iou(answer[:half] > 0, target[:half]),
            "photo_iou_first": _iou(best[half:] > 0, target[half:]),
            "photo_iou_second": _iou(answer[half:] > 0, target[half:]),
        }

    def _decode(
        self, embeddings: Tensor, points: Tensor, labels: Tensor, dense: Tensor | None = None, multimask: bool = False
    ) -> tuple[Tensor, Tensor]:
        missing = self.config.max_points - points.shape[1]  # one length, so that one compilation serves
        points, labels = F.pad(points, (0, 0, 0, missing)), F.pad(labels, (0, missing), value=PADDING)
        return decode(
            self.sam.prompt_encoder,
            self.sam.mask_decoder,
            embeddings,
            points,
            labels,
            dense,
            multimask_output=multimask,
        )

    def _first_clicks(self, target: Tensor) -> tuple[Tensor, Tensor]:
        pixel = INPUT_SIZE / target.shape[-1]
        points, labels = sample_clicks(target, target, 1, pixel)
        away, away_labels = sample_clicks(~target, target, 1, pixel)
        away_labels[torch.rand(len(target)) < 0.5] = PADDING
        return torch.cat([points, away], 1), torch.cat([labels, away_labels], 1)

    def _later_clicks(
        self, embeddings: Tensor, points: Tensor, labels: Tensor, logits: Tensor, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Up to the most points that an episode gives; half of the time an unseen answer comes between."""
        pixel = INPUT_SIZE / target.shape[-1]
        budget = self.config.max_points - points.shape[1]
        total = int(torch.randint(1, budget + 1, ()))
        rounds = [total]
        if total > 2 and torch.rand(()) < 0.5:
            early = int(torch.randint(1, total, ()))
            rounds = [early, total - early]
        for number, count in enumerate(rounds):
            if number:
                with torch.no_grad():
                    logits = self._decode(embeddings, points, labels)[0][:, 0].float()
            informed = int(torch.distributions.Binomial(count, torch.tensor(self.config.from_error)).sample())
            wrong = (logits > 0) != target
            for region, some in ((wrong, informed), (torch.ones_like(wrong), count - informed)):
                if some:
                    more, more_labels = sample_clicks(region, target, some, pixel)
                    points, labels = torch.cat([points, more], 1), torch.cat([labels, more_labels], 1)
        return points, labels

    def _semantic(self, features: Tensor, classes: Tensor) -> Tensor:
        logits = self.classifier(features)
        stride = classes.shape[-1] // logits.shape[-1]
        return F.cross_entropy(
            logits.float(), classes[:, stride // 2 :: stride, stride // 2 :: stride], ignore_index=VOID
        )


def mask_loss(logits: Tensor, predicted_iou: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy + Dice of the best of K masks, and the error of every predicted IoU.

    logits (B, K, H, W), predicted_iou (B, K), target bool (B, H, W).
    Returns the scalar loss and the best mask's logits (B, H, W), detached, float32.
    """
    logits = logits.float()
    truth = target[:, None].float().expand_as(logits)
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean((2, 3))
    probability = logits.sigmoid()
    overlap = (probability * truth).sum((2, 3))
    dice = 1 - (2 * overlap + 1) / (probability.sum((2, 3)) + truth.sum((2, 3)) + 1)
    each = 2 * entropy + dice
    loss, chosen = each.min(1)
    answer = logits.detach() > 0
    iou = (answer & target[:, None]).sum((2, 3)) / (answer | target[:, None]).sum((2, 3)).clamp(min=1)
    best = logits.detach()[torch.arange(len(logits)), chosen]
    return loss.mean() + 0.1 * F.mse_loss(predicted_iou.float(), iou), best


def score(sam: nn.Module, config: DictConfig) -> dict[str, dict[int, float]]:
    """Mean IoU after each of `COUNTS` oracle clicks, at 256 pixels, on what training never saw."""
    assert isinstance(sam, Sam)
    root = Path(config.voc_val)
    return {
        "shapes": click_curve(sam, scene_targets(config.score_scenes), COUNTS),
        "voc_val_by_class": click_curve(sam, voc_targets(root, merged=False), COUNTS),
        "voc_val_merged": click_curve(sam, voc_targets(root, merged=True), COUNTS),
    }


def save(sam: nn.Module, path: Path) -> None:
    state = sam.state_dict()
    save_file({k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in state.items()}, path)


def _warm_average(decay: float) -> Any:
    """An exponential moving average that forgets the first, random weights quickly."""

    def average(averaged: Any, current: Any, count: Any) -> None:
        get_ema_multi_avg_fn(min(decay, (1 + float(count)) / (10 + float(count))))(averaged, current, count)

    return average


def _batches(pictures: Scenes | Photographs, config: DictConfig) -> Iterator[Picture]:
    sampler = RandomSampler(pictures, num_samples=config.steps * (config.batch_size // 2))
    return iter(
        DataLoader(
            pictures,
            config.batch_size // 2,
            sampler=sampler,
            num_workers=1,
            prefetch_factor=4,
            worker_init_fn=seed_worker,
        )
    )


def _joined(first: Picture, second: Picture) -> Picture:
    image, targets, classes = (torch.cat(pair) for pair in zip(first, second, strict=True))
    return Picture(image, targets, classes.long())


def _iou(prediction: Tensor, target: Tensor) -> float:
    union = (prediction | target).sum((1, 2)).clamp(min=1)
    return float(((prediction & target).sum((1, 2)) / union).mean())


if __name__ == "__main__":
    main()
