"""The optimiser's side of every pretraining: schedule, precision, running average of the weights, batches."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, RandomSampler

from alignsam_gym.atomic_write import write_atomically
from alignsam_gym.errors import WeightsError, first_line
from alignsam_gym.experiments.pretrain.training_images import AugmentedImages, seed_worker


class Optimiser:
    """AdamW with one cycle of the learning rate, and the average of the weights on the way; it can be interrupted.

    helpers: parameters that are trained along and not kept. average_buffers: whether buffers are learnt, as the
    statistics of batch normalisation are, and so averaged too. rates: the learning rate of all parameters below a name,
    as a share of the others'. updates: how many updates one step of the training has.
    """

    def __init__(
        self,
        model: nn.Module,
        helpers: Sequence[nn.Parameter],
        config: DictConfig,
        average_buffers: bool,
        rates: Mapping[str, float] = MappingProxyType({}),
        updates: int = 1,
    ) -> None:
        self.model, self.clip_norm, self.updates = model, config.clip_norm, updates
        self.helpers = nn.ParameterList(helpers)
        self.average = AveragedModel(model, multi_avg_fn=_warm_average(config.ema), use_buffers=average_buffers)
        groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
        for name, parameter in (*model.named_parameters(), *(("", helper) for helper in helpers)):
            if parameter.requires_grad:
                rate = next((share for below, share in rates.items() if name.startswith(f"{below}.")), 1.0)
                groups.setdefault((rate, parameter.ndim > 1), []).append(parameter)
        self.adam = torch.optim.AdamW(
            [
                {
                    "params": parameters,
                    "lr": rate * config.learning_rate,
                    "weight_decay": config.weight_decay if matrices else 0.0,
                }
                for (rate, matrices), parameters in groups.items()
            ],
            betas=(0.9, 0.98),
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.adam, lambda step: one_cycle(step, config.warmup, config.steps * updates)
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

    @property
    def steps(self) -> int:
        """How many steps of the training were made."""
        return self.schedule.last_epoch // self.updates

    def save(self, file: Path) -> None:
        """Write all that `load` needs to go on."""
        whole = io.BytesIO()
        torch.save({name: each.state_dict() for name, each in self._parts().items()}, whole)
        write_atomically(file, whole.getvalue())

    def load(self, file: Path) -> None:
        """Go on from what `save` wrote. Raises WeightsError."""
        try:
            saved = torch.load(file, "cpu", weights_only=True)
            for name, each in self._parts().items():
                each.load_state_dict(saved[name])
        except Exception as error:  # a torn file can fail in any way
            raise WeightsError(
                f"{file} is no state of this training ({first_line(error)}); remove it, or set another output."
            ) from error

    def _parts(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("model", "average", "helpers", "adam", "schedule")}


def one_cycle(step: int, warmup: int, steps: int) -> float:
    """Return the share of the highest learning rate: a line upwards for `warmup` steps, then a cosine down to 0."""
    if step < warmup:
        return (step + 1) / warmup
    return (1 + math.cos(math.pi * min(1.0, (step - warmup) / (steps - warmup)))) / 2


def _warm_average(decay: float) -> Any:
    """An exponential moving average that forgets the first, random weights quickly."""

    def average(averaged: Any, current: Any, count: Any) -> None:
        get_ema_multi_avg_fn(min(decay, (1 + float(count)) / (10 + float(count))))(averaged, current, count)

    return average


def batches(pictures: AugmentedImages, size: int, count: int) -> Iterator[Any]:
    """Yield `count` random batches of `size` `pictures`."""
    sampler = RandomSampler(pictures, num_samples=count * size)
    return iter(
        DataLoader(pictures, size, sampler=sampler, num_workers=1, prefetch_factor=4, worker_init_fn=seed_worker)
    )
