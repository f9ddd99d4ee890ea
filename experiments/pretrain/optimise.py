"""The optimiser's side of both pretrainings: schedule, precision, running average of the weights, batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, RandomSampler

from alignsam_gym.experiments.pretrain.training_images import AugmentedImages, seed_worker


class Optimiser:
    """AdamW with one cycle of the learning rate, and the average of the weights on the way.

    helpers: parameters that are trained along and not kept. average_buffers: whether buffers are learnt, as the
    statistics of batch normalisation are, and so averaged too.
    """

    def __init__(
        self, model: nn.Module, helpers: Sequence[nn.Parameter], config: DictConfig, average_buffers: bool
    ) -> None:
        self.model, self.clip_norm = model, config.clip_norm
        self.average = AveragedModel(model, multi_avg_fn=_warm_average(config.ema), use_buffers=average_buffers)
        parameters = [p for p in (*model.parameters(), *helpers) if p.requires_grad]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in parameters if p.ndim > 1]},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.adam = torch.optim.AdamW(
            groups,
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            betas=(0.9, 0.98),
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.adam,
            max_lr=config.learning_rate,
            total_steps=config.steps,
            pct_start=config.warmup / config.steps,
            cycle_momentum=False,
        )
        half = config.precision == "bfloat16"
        self.autocast = (lambda: torch.autocast("cpu", torch.bfloat16)) if half else nullcontext

    def step(self, loss: Tensor) -> None:
        self.adam.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)
        self.adam.step()
        self.schedule.step()
        self.average.update_parameters(self.model)


def _warm_average(decay: float) -> Any:
    """An exponential moving average that forgets the first, random weights quickly."""

    def average(averaged: Any, current: Any, count: Any) -> None:
        get_ema_multi_avg_fn(min(decay, (1 + float(count)) / (10 + float(count))))(averaged, current, count)

    return average


def batches(pictures: AugmentedImages, config: DictConfig) -> Iterator[Any]:
    """`config.steps` half batches of `pictures`."""
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
