"""Trains the embedded SAM on drawn scenes and real photographs, with simulated clicks.

Each step clicks on targets twice. The first answer is prompted by one positive point, or by the pair that
begins an AlignSAM episode; the second by up to 17 points, most drawn from the first answer's error, as SAM
was trained, and some from anywhere with their true label, as an agent's may be.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from omegaconf import DictConfig
from safetensors.torch import save_file
from segment_anything.modeling import Sam
from torch import Tensor, nn
from torch.nn import functional as F

from alignsam_gym.data.voc_dataset import VOID
from alignsam_gym.experiments.pretrain.clicks import sample_clicks
from alignsam_gym.experiments.pretrain.optimise import Optimiser, batches
from alignsam_gym.experiments.pretrain.scores import click_curve, scene_targets, voc_targets
from alignsam_gym.experiments.pretrain.training_images import ClickedPhotographs, ClickedScenes, Picture
from alignsam_gym.foundation.sam.batched_decoder import PADDING, BatchedDecoder
from alignsam_gym.foundation.tiny import load_tiny_sam
from alignsam_gym.foundation.tiny.tiny_sam import EMBED_DIM, INPUT_SIZE, build_tiny_sam
from alignsam_gym.srm.segmentation_loss import dice_loss

CLASSES = 21
COUNTS = (1, 2, 4, 8, 15)


def build(config: DictConfig) -> Sam:
    return load_tiny_sam(Path(config.init)) if config.init else build_tiny_sam()


def pictures(config: DictConfig) -> Iterator[Picture]:
    """Batches, half drawn scenes, half photographs."""
    photographs = ClickedPhotographs(Path(config.photographs), config.targets)
    scenes = ClickedScenes(config.scenes, config.targets, config.workers)
    return map(_joined, batches(scenes, config), batches(photographs, config))


class Trainer:
    """The simulated user and the losses."""

    def __init__(self, sam: Sam, config: DictConfig) -> None:
        self.sam, self.config = sam, config
        self.classifier = nn.Conv2d(EMBED_DIM, CLASSES, 1)
        self.optimiser = Optimiser(sam, [*self.classifier.parameters()], config, average_buffers=True)
        self.average = self.optimiser.average

    def step(self, batch: Picture) -> dict[str, float]:
        """One update; returns the losses and the IoU of both passes."""
        self.sam.train()
        image, targets, classes = batch
        owner = torch.arange(len(image)).repeat_interleave(targets.shape[1])
        full = targets.flatten(0, 1)
        low = F.avg_pool2d(full[:, None].float(), 2)[:, 0]
        target = low > 0.5
        with self.optimiser.autocast():
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
        self.optimiser.step(loss)
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
        decoder = BatchedDecoder(self.sam.prompt_encoder, self.sam.mask_decoder)
        return decoder.decode(decoder.prepare_image(embeddings, dense), points, labels, multimask)

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
    each = 2 * entropy + dice_loss(logits.sigmoid(), truth)
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


def save(sam: nn.Module, folder: Path) -> None:
    state = sam.state_dict()
    halves = {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in state.items()}
    save_file(halves, folder / "sam_tiny.safetensors")


def _joined(first: Picture, second: Picture) -> Picture:
    image, targets, classes = (torch.cat(pair) for pair in zip(first, second, strict=True))
    return Picture(image, targets, classes.long())


def _iou(prediction: Tensor, target: Tensor) -> float:
    union = (prediction | target).sum((1, 2)).clamp(min=1)
    return float(((prediction & target).sum((1, 2)) / union).mean())
