"""The same method around `SamPredictor`, as one would write it with the libraries alone: what ours is timed against.

One environment an episode, each with its own predictor, in SB3's `DummyVecEnv`; states as float32 observations in
SB3's own rollout buffer. The networks, their sizes and PPO's settings are ours, but that the SRM learns from one state
at a time, as the environments step one after another, where ours learns from a batch. An image's features are computed
once and shared, which already is more than one finds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import cv2
import gymnasium as gym
import numpy as np
import py_sod_metrics
import torch
from gymnasium import spaces
from segment_anything import SamPredictor
from segment_anything.modeling import Sam
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import Tensor, nn
from torch.nn import functional as F

from alignsam_gym.agents.networks import PatchExtractor, PatchHead
from alignsam_gym.agents.policies import PromptPolicy
from alignsam_gym.data import Dataset
from alignsam_gym.foundation.sam.predictor import BatchedSamPredictor
from alignsam_gym.metrics.mask_scores import BETA_SQUARED
from alignsam_gym.srm.branches import ImplicitBranch
from alignsam_gym.srm.segmentation_loss import segmentation_loss

FRAME, SIDE = 800, 10


class Labeller(nn.Module):
    """The SRM's implicit branch on whole states, and its optimiser."""

    def __init__(self, channels: int, width: int, learning_rate: float) -> None:
        super().__init__()
        ours = ImplicitBranch(channels, width)
        self.network = nn.Sequential(ours.project.convolution, ours.blocks, ours.head)
        self.optimizer = torch.optim.Adam(self.parameters(), lr=learning_rate)

    def forward(self, state: Tensor) -> Tensor:
        logits: Tensor = self.network(state)
        return logits[:, 0]

    def learn(self, state: Tensor, target: Tensor) -> None:
        self.optimizer.zero_grad()
        segmentation_loss(self(state), target, torch.ones_like(target)).backward()
        self.optimizer.step()


class PredictorEnv(gym.Env[np.ndarray, np.int64]):
    """One episode at a time: the paper's state, reward and labels; without a labeller all points are foreground."""

    def __init__(
        self,
        sam: Sam,
        features: Tensor,
        masks: Sequence[np.ndarray],
        labeller: Labeller | None,
        max_steps: int,
        learns: bool = True,
    ) -> None:
        self.predictor, self.learns = SamPredictor(sam), learns
        self.features, self.masks, self.labeller, self.max_steps = features, masks, labeller, max_steps
        bound = float(np.finfo(np.float16).max)
        self.observation_space = spaces.Box(-bound, bound, tuple(features.shape[1:]), np.float32)
        self.action_space = spaces.Discrete(SIDE**2)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.index = (options or {}).get("index", int(self.np_random.integers(len(self.masks))))
        mask = self.masks[self.index]
        size = self.predictor.model.image_encoder.img_size
        self.predictor.features = self.features[self.index : self.index + 1]
        self.predictor.original_size, self.predictor.input_size = (FRAME, FRAME), (size, size)
        self.predictor.is_image_set = True
        self.truth = cv2.resize(mask.astype(np.uint8), (FRAME, FRAME), interpolation=cv2.INTER_NEAREST) > 0
        cells = self.features.shape[-1]
        self.target = F.interpolate(torch.from_numpy(mask)[None, None].float(), (cells, cells), mode="area")[0]
        self.points: list[tuple[float, float]] = []
        self.labels: list[int] = []
        self.steps = 0
        for region, label in ((mask, 1), (~mask, 0)):
            y, x = self.np_random.choice(np.argwhere(region))
            self._add((x + 0.5) * FRAME / mask.shape[1], (y + 0.5) * FRAME / mask.shape[0], label)
        return self._answer(), {}

    def step(self, action: np.int64 | int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        row, column = divmod(int(action), SIDE)
        x, y = (column + 0.5) * FRAME / SIDE, (row + 0.5) * FRAME / SIDE
        cells, mask = self.features.shape[-1], self.masks[self.index]
        label = 1
        if self.labeller:
            with torch.no_grad():
                guide = self.labeller(self.state[None])[0]
            label = int(guide[int(y * cells / FRAME), int(x * cells / FRAME)] > 0)
        self._add(x, y, label)
        state = self._answer()
        if self.labeller and self.learns:
            self.labeller.learn(self.state[None], self.target)
        hit = mask[int(y * mask.shape[0] / FRAME), int(x * mask.shape[1] / FRAME)]
        self.steps += 1
        return state, 1.0 if hit else -1.0, False, self.steps == self.max_steps, {}

    def _add(self, x: float, y: float, label: int) -> None:
        self.points.append((x, y))
        self.labels.append(label)

    def _answer(self) -> np.ndarray:
        points, labels = np.array(self.points), np.array(self.labels)
        (self.answer,), _, logits = self.predictor.predict(points, labels, multimask_output=False)
        features = self.features[self.index]
        probabilities = torch.from_numpy(logits).to(features).sigmoid()
        self.state = features * F.adaptive_avg_pool2d(probabilities, features.shape[-1])
        return self.state.cpu().numpy()


class StateExtractor(PatchExtractor):
    """`PatchExtractor` of whole states: pools them in every epoch."""

    def __init__(self, observation_space: spaces.Box, **options: Any) -> None:
        channels = observation_space.shape[0]
        super().__init__(spaces.Box(-1, 1, (channels, SIDE, SIDE), np.float32), **options)

    def extract(self, seen: Tensor) -> Tensor:
        return super().extract(F.adaptive_avg_pool2d(seen, SIDE))


def reference_environments(
    model: BatchedSamPredictor, dataset: Dataset, count: int, max_steps: int, srm: Mapping[str, Any] | None
) -> DummyVecEnv:
    """`count` of them, with one labeller, or none."""
    first = reference_environment(model, dataset, max_steps, srm)
    again = partial(PredictorEnv, model.sam, first.features, first.masks, first.labeller, max_steps)
    return DummyVecEnv([lambda: first, *[again] * (count - 1)])


def reference_environment(
    model: BatchedSamPredictor, dataset: Dataset, max_steps: int, srm: Mapping[str, Any] | None, learns: bool = True
) -> PredictorEnv:
    """One, with all images' features computed, and with a labeller unless `srm` is None."""
    samples = [dataset[i] for i in range(len(dataset))]
    features = torch.cat([model.encode([cv2.resize(sample.image, (FRAME, FRAME))]) for sample in samples])
    labeller = Labeller(features.shape[1], srm["width"], srm["learning_rate"]).to(model.device) if srm else None
    return PredictorEnv(model.sam, features, [sample.mask for sample in samples], labeller, max_steps, learns)


def reference_ppo(env: DummyVecEnv, options: Mapping[str, Any], width: int) -> PPO:
    """SB3's PPO with its own buffer; options as of config group ``agent``, width as of ``policy``."""
    options = {name: value for name, value in options.items() if name != "algorithm"}
    extractor = {"features_extractor_class": StateExtractor, "features_extractor_kwargs": {"width": width}}
    return PPO(PromptPolicy, env, policy_kwargs={"head": PatchHead, **extractor}, seed=0, **options)


def reference_iou(answer: np.ndarray, truth: np.ndarray) -> float:
    """Compute the IoU of two masks, bool (H, W)."""
    return float((answer & truth).sum() / max(1, (answer | truth).sum()))


def reference_metrics(answer: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """Measure a mask, bool (H, W), by PySODMetrics' evaluators, called as its documentation does."""
    counted = {"with_dynamic": False, "with_adaptive": False, "with_binary": True}
    handlers = {
        "f_beta": py_sod_metrics.FmeasureHandler(with_dynamic=True, with_adaptive=True, beta=BETA_SQUARED),
        "iou": py_sod_metrics.IOUHandler(**counted),
        "ber": py_sod_metrics.BERHandler(**counted),
    }
    results: dict[str, Any] = {}
    for evaluator in (
        py_sod_metrics.FmeasureV2(handlers),
        py_sod_metrics.Emeasure(),
        py_sod_metrics.Smeasure(),
        py_sod_metrics.WeightedFmeasure(),
        py_sod_metrics.MAE(),
    ):
        evaluator.step(answer.astype(np.uint8) * 255, truth.astype(np.uint8) * 255)
        results |= evaluator.get_results()
    return results
