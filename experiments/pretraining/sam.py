"""Trains the embedded SAM on drawn scenes and real photographs, with simulated clicks.

Each step asks for one answer a target. A first one is prompted by one positive point, by the pair that begins an
AlignSAM episode, or by a box. A later one is prompted by up to 17 points, most drawn from the first answer's error, as
SAM was trained, and some from anywhere with their true label, as an agent's may be; sometimes by the first answer too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import torch
from omegaconf import DictConfig
from safetensors.torch import save_file
from segment_anything.modeling import Sam
from torch import Tensor, nn
from torch.nn import functional as F

from alignsam_gym.data import shapes
from alignsam_gym.foundation.decoder import PADDING, BatchedDecoder
from alignsam_gym.foundation.tiny import load_backbone, load_tiny_sam
from alignsam_gym.foundation.tiny.model import EMBED_DIM, INPUT_SIZE, TinyImageEncoder, build_tiny_sam
from experiments.pretraining.clicks import sample_clicks
from experiments.pretraining.features import Cache
from experiments.pretraining.images import (
    VOID,
    ClickedPhotographs,
    ClickedScenes,
    Picture,
    all_photographs,
)
from experiments.pretraining.optimise import Optimiser, batches
from experiments.pretraining.scores import click_curve, first_answers, saliency_targets, scene_targets, voc_targets

CLASSES = 21
COUNTS = (1, 2, 4, 8, 15)


def build(config: DictConfig) -> Sam:
    """The weights of `config.init`, which `experiments.pretraining.transplant` makes or an earlier training; else none
    but the backbone's.
    """
    if config.init:
        sam = load_tiny_sam(Path(config.init))
    else:
        sam = build_tiny_sam()
        cast(TinyImageEncoder, sam.image_encoder).backbone = load_backbone()
    sam.image_encoder.backbone.requires_grad_(False)
    sam.image_encoder.detail.requires_grad_(False)
    return sam


def pictures(config: DictConfig, steps: int) -> Iterator[Picture]:
    """`steps` batches, drawn scenes first, then photographs."""
    photographs = ClickedPhotographs(all_photographs(config), config.views, config.targets)
    scenes = ClickedScenes(config.scenes, config.views, config.targets, config.workers)
    drawn = batches(scenes, config.drawn, steps)
    taken = batches(photographs, config.batch_size - config.drawn, steps)
    return (_joined(*pair, first_view=config.scenes * config.views) for pair in zip(drawn, taken, strict=True))


class PromptedMasks(BatchedDecoder):
    """Answers with all four masks, the single one first."""

    def _answer(self, hidden: Tensor, pixels: Tensor, details: Tensor, multimask_output: bool) -> tuple[Tensor, Tensor]:
        return self._paint(self._upscale(pixels), self._kernels(hidden, slice(None))), self._iou(hidden)


class Trainer:
    """The simulated user and the losses."""

    def __init__(self, sam: Sam, config: DictConfig) -> None:
        self.sam, self.config = sam, config
        self.encoder = cast(TinyImageEncoder, sam.image_encoder)
        self.features = Cache(Path(config.features), self._frozen)
        self.classifier = nn.Conv2d(EMBED_DIM, CLASSES, 1)
        self.optimiser = Optimiser(sam, [*self.classifier.parameters()], config, average_buffers=True)
        self.average = self.optimiser.average

    def step(self, batch: Picture) -> dict[str, float]:
        """One update, of the first answer or of a later one; returns the losses and the IoU."""
        self.sam.train()
        self.encoder.detail.eval()  # it is frozen, its statistics too
        image, targets, scored, classes, views = batch
        owner = torch.arange(len(image)).repeat_interleave(targets.shape[1])
        full = targets.flatten(0, 1)
        target = _at_logits(full)
        judged = _at_logits(scored)[owner]
        with self.optimiser.autocast():
            pixels = self.sam.preprocess(image.float()).contiguous(memory_format=torch.channels_last)
            detail, *stages = self.features(views, pixels)
            features = self.encoder.neck(detail, stages)
            semantic = self._semantic(features, classes)
            embeddings = features[owner]
            boxes = noisy_boxes(full, self.config.box_noise) if torch.rand(()) < self.config.boxed else None
            points, labels = self._first_clicks(target, judged, boxes is not None)
            later = bool(torch.rand(()) < 0.5)
            with torch.set_grad_enabled(not later):
                answer = self._decode(embeddings, points, labels, boxes)
            if later:
                single = answer[0][:, 0].float()
                if torch.rand(()) < 0.5:
                    boxes = None
                points, labels = self._later_clicks(embeddings, points, labels, boxes, single, target, judged)
                dense = single[:, None] if torch.rand(()) < self.config.mask_input else None
                answer = self._decode(embeddings, points, labels, boxes, dense)
            loss = mask_losses(*answer, target, judged) + self.config.semantic_weight * semantic
        self.optimiser.step(loss)
        half = self.config.drawn * self.config.targets  # scenes come first
        iou = mask_iou(answer[0] > 0, target, judged)
        parts = {"single": iou[:, 0], "best3": iou[:, 1:].amax(1)}
        when = "later" if later else "first"
        return {"loss": loss.item(), "semantic": semantic.item()} | {
            f"{kind}_{when}_{name}": float(part[rows].mean())
            for name, part in parts.items()
            for kind, rows in (("scene", slice(half)), ("photo", slice(half, None)))
        }

    def _frozen(self, pixels: Tensor) -> list[Tensor]:
        """What the neck merges: `Detail`'s output and the backbone's last three stages."""
        return [self.encoder.detail(pixels), *self.encoder.backbone(pixels)[1:]]

    def _decode(
        self, embeddings: Tensor, points: Tensor, labels: Tensor, boxes: Tensor | None, dense: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """All four masks' logits (B, 4, 128, 128) and predicted IoU (B, 4)."""
        decoder = PromptedMasks(self.sam.prompt_encoder, self.sam.mask_decoder)
        return decoder.decode(decoder.read(embeddings, dense), points, labels, boxes=boxes)

    def _first_clicks(self, target: Tensor, judged: Tensor, boxed: bool) -> tuple[Tensor, Tensor]:
        """A point on the target, half of the time with one beside it; with a box, both half of the time."""
        pixel = INPUT_SIZE / target.shape[-1]
        points, labels = sample_clicks(target, target, 1, pixel)
        away, away_labels = sample_clicks(~target & judged, target, 1, pixel)
        away_labels[torch.rand(len(target)) < 0.5] = PADDING
        points, labels = torch.cat([points, away], 1), torch.cat([labels, away_labels], 1)
        if boxed:
            labels[torch.rand(len(target)) < 0.5] = PADDING
        return points, labels

    def _later_clicks(
        self,
        embeddings: Tensor,
        points: Tensor,
        labels: Tensor,
        boxes: Tensor | None,
        logits: Tensor,
        target: Tensor,
        judged: Tensor,
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
                    logits = self._decode(embeddings, points, labels, boxes)[0][:, 0].float()
            informed = int(torch.distributions.Binomial(count, torch.tensor(self.config.from_error)).sample())
            wrong = ((logits > 0) != target) & judged
            for region, some in ((wrong, informed), (judged, count - informed)):
                if some:
                    more, more_labels = sample_clicks(region, target, some, pixel)
                    points, labels = torch.cat([points, more], 1), torch.cat([labels, more_labels], 1)
        return points, labels

    def _semantic(self, features: Tensor, classes: Tensor) -> Tensor:
        logits = self.classifier(features)
        stride = classes.shape[-1] // logits.shape[-1]
        classes = classes[:, stride // 2 :: stride, stride // 2 :: stride]
        total = F.cross_entropy(logits.float(), classes, ignore_index=VOID, reduction="sum")
        return total / (classes != VOID).sum().clamp(min=1)


def mask_losses(logits: Tensor, predicted_iou: Tensor, target: Tensor, judged: Tensor) -> Tensor:
    """Cross-entropy + Dice of the single mask and of the best of the three, and the error of every predicted IoU.

    logits (B, 4, H, W), predicted_iou (B, 4), target and judged, where it counts, bool (B, H, W).
    Returns a scalar.
    """
    logits = logits.float()
    weight = judged[:, None].float()
    truth = target[:, None].float().expand_as(logits)
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    entropy = (entropy * weight).mean((2, 3))
    probability = logits.sigmoid() * weight
    truth = truth * weight
    overlap = (probability * truth).sum((2, 3))
    dice = 1 - (2 * overlap + 1) / (probability.sum((2, 3)) + truth.sum((2, 3)) + 1)
    each = 2 * entropy + dice
    iou = mask_iou(logits.detach() > 0, target, judged)
    return each[:, 0].mean() + 0.5 * each[:, 1:].amin(1).mean() + 0.2 * F.mse_loss(predicted_iou.float(), iou)


def mask_iou(answer: Tensor, target: Tensor, judged: Tensor) -> Tensor:
    """float (B, K) of answers bool (B, K, H, W) with target where it is judged, bool (B, H, W) both."""
    target, judged = target[:, None], judged[:, None]
    union = ((answer | target) & judged).sum((2, 3)).clamp(min=1)
    return (answer & target & judged).sum((2, 3)) / union


def noisy_boxes(masks: Tensor, noise: float) -> Tensor:
    """Boxes around masks, bool (B, H, W), each side off by up to `noise` of the box: float (B, 4), x0 y0 x1 y1."""
    height, width = masks.shape[1:]
    rows, columns = (masks.any(dim).float() for dim in (2, 1))
    x0, y0 = columns.argmax(1), rows.argmax(1)
    x1, y1 = width - columns.flip(1).argmax(1), height - rows.flip(1).argmax(1)
    boxes = torch.stack([x0, y0, x1, y1], 1).float()
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    return (boxes + sides * noise * (2 * torch.rand(boxes.shape) - 1)).clamp(0, width)


def _at_logits(masks: Tensor) -> Tensor:
    """Masks bool (B, 256, 256) at the size of low-resolution logits."""
    return F.avg_pool2d(masks[:, None].float(), 2)[:, 0] > 0.5


def score(sam: nn.Module, config: DictConfig) -> dict[str, dict[str, float]]:
    """On what training never saw, at 256 pixels: mean IoU after each of `COUNTS` oracle clicks, and `first_answers`."""
    assert isinstance(sam, Sam)
    root = Path(config.voc_val)
    targets = {task: list(scene_targets(config.score_scenes, [task])) for task in shapes.TASKS}
    targets |= {
        "voc_val_by_class": list(voc_targets(root, merged=False)),
        "voc_val_merged": list(voc_targets(root, merged=True)),
    }
    if config.saliency_val:
        targets["saliency"] = list(saliency_targets(Path(config.saliency_val)))
    found: dict[str, dict[str, float]] = {}
    for name, some in targets.items():
        curve = {str(count): iou for count, iou in click_curve(sam, some, COUNTS).items()}
        found[name] = curve | first_answers(sam, some)
    return found


def save(sam: nn.Module, folder: Path) -> None:
    state = sam.state_dict()
    halves = {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in state.items()}
    save_file(halves, folder / "sam_tiny.safetensors")


def _joined(drawn: Picture, taken: Picture, first_view: int) -> Picture:
    """Both in one batch; the photographs' views are counted from `first_view`."""
    taken = taken._replace(view=taken.view + first_view)
    image, targets, scored, classes, view = (torch.cat(pair) for pair in zip(drawn, taken, strict=True))
    return Picture(image, targets, scored, classes.long(), view)
