"""Trains the embedded SAM on drawn scenes and real photographs, with simulated clicks.

Each step asks for one answer a target. A first one is prompted by one positive point, by the pair that begins an
AlignSAM episode, or by a box. A later one is prompted by up to 17 points, most drawn from the first answer's error, as
SAM was trained, and some from anywhere with their true label, as an agent's may be; sometimes by the first answer too.
The backbone and the path for detail are frozen by default, and what they compute of a view is then kept on disk.
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

from alignsam_gym.data import drawn_scenes
from alignsam_gym.data.voc_dataset import VOID
from alignsam_gym.experiments.pretrain.clicks import sample_clicks
from alignsam_gym.experiments.pretrain.feature_cache import FeatureCache
from alignsam_gym.experiments.pretrain.optimise import Optimiser, batches
from alignsam_gym.experiments.pretrain.scores import (
    click_curve,
    first_answers,
    saliency_targets,
    scene_targets,
    voc_targets,
)
from alignsam_gym.experiments.pretrain.training_images import (
    ClickedPhotographs,
    ClickedScenes,
    Picture,
    all_photographs,
)
from alignsam_gym.foundation.sam.batched_decoder import PADDING, BatchedDecoder
from alignsam_gym.foundation.tiny import half_precision, load_backbone, load_tiny_sam
from alignsam_gym.foundation.tiny.tiny_sam import EMBED_DIM, INPUT_SIZE, TinyImageEncoder, build_tiny_sam
from alignsam_gym.srm.segmentation_loss import dice_loss

CLASSES = 21
COUNTS = (1, 2, 4, 8, 15)


def build(config: DictConfig) -> Sam:
    """Load the weights of `config.init`, from `initial_sam` or an earlier training; else none but the backbone's."""
    if config.init:
        sam = load_tiny_sam(Path(config.init))
    else:
        sam = build_tiny_sam()
        cast(TinyImageEncoder, sam.image_encoder).backbone = load_backbone()
    sam.image_encoder.backbone.requires_grad_(config.backbone_rate > 0)
    sam.image_encoder.detail.requires_grad_(config.detail_rate > 0)
    return sam


def pictures(config: DictConfig, steps: int) -> Iterator[Picture]:
    """`steps` batches, drawn scenes first, if there are any, then photographs."""
    photographs = ClickedPhotographs(all_photographs(config), config.views, config.targets)
    if not config.drawn:
        return batches(photographs, config.batch_size, steps)
    scenes = ClickedScenes(config.scenes, config.views, config.targets, config.workers)
    drawn = batches(scenes, config.drawn, steps)
    taken = batches(photographs, config.batch_size - config.drawn, steps)
    return (_joined(*pair, first_view=config.scenes * config.views) for pair in zip(drawn, taken, strict=True))


class FourMasksDecoder(BatchedDecoder):
    """Answers with all four masks, the single one first."""

    def _answer(
        self, hidden: Tensor, pixels: Tensor, high_res_features: Tensor, multimask_output: bool
    ) -> tuple[Tensor, Tensor]:
        return self._paint(self._upscale(pixels), self._kernels(hidden, slice(None))), self._iou(hidden)


class Trainer:
    """The simulated user and the losses."""

    def __init__(self, sam: Sam, config: DictConfig) -> None:
        self.sam, self.config = sam, config
        self.encoder = cast(TinyImageEncoder, sam.image_encoder)
        frozen = not config.backbone_rate and not config.detail_rate
        self.features = FeatureCache(Path(config.features), self._two_paths) if frozen else None
        self.classifier = nn.Conv2d(EMBED_DIM, CLASSES, 1)
        rates = {"image_encoder.backbone": config.backbone_rate, "image_encoder.detail": config.detail_rate}
        self.optimiser = Optimiser(sam, [*self.classifier.parameters()], config, average_buffers=True, rates=rates)
        self.average = self.optimiser.average

    def step(self, batch: Picture) -> dict[str, float]:
        """One update, of the first answer or of a later one; returns the losses and the IoU."""
        self.sam.train()
        self.encoder.detail.train(self.config.detail_rate > 0)  # its statistics are frozen with it
        image, targets, valid, classes, views = batch
        owner = torch.arange(len(image)).repeat_interleave(targets.shape[1])
        full = targets.flatten(0, 1)
        target = _at_logits(full)
        labelled = _at_logits(valid)[owner]
        with self.optimiser.autocast():
            pixels = self.sam.preprocess(image.float()).contiguous(memory_format=torch.channels_last)
            detail, *stages = self.features(views, pixels) if self.features else self._two_paths(pixels)
            features = self.encoder.neck(detail, stages)
            semantic = self._semantic(features, classes)
            embeddings = features[owner]
            boxes = noisy_boxes(full, self.config.box_noise) if torch.rand(()) < self.config.boxed else None
            points, labels = self._first_clicks(target, labelled, boxes is not None)
            later = bool(torch.rand(()) < 0.5)
            with torch.set_grad_enabled(not later):
                answer = self._decode(embeddings, points, labels, boxes)
            if later:
                single = answer[0][:, 0].float()
                if torch.rand(()) < 0.5:
                    boxes = None
                points, labels = self._later_clicks(embeddings, points, labels, boxes, single, target, labelled)
                dense = single[:, None] if torch.rand(()) < self.config.mask_input else None
                answer = self._decode(embeddings, points, labels, boxes, dense)
            loss = mask_losses(*answer, target, labelled) + self.config.semantic_weight * semantic
        self.optimiser.step(loss)
        half = self.config.drawn * self.config.targets  # scenes come first
        iou = mask_iou(answer[0] > 0, target, labelled)
        parts = {"single": iou[:, 0], "best3": iou[:, 1:].amax(1)}
        when = "later" if later else "first"
        return {"loss": loss.item(), "semantic": semantic.item()} | {
            f"{kind}_{when}_{name}": float(part[rows].mean())
            for name, part in parts.items()
            for kind, rows in (("scene", slice(half)), ("photo", slice(half, None)))
            if len(part[rows])
        }

    def _two_paths(self, pixels: Tensor) -> list[Tensor]:
        """Compute what the neck merges: `Detail`'s output and the backbone's last three features."""
        return [self.encoder.detail(pixels), *self.encoder.backbone(pixels)[1:]]

    def _decode(
        self, embeddings: Tensor, points: Tensor, labels: Tensor, boxes: Tensor | None, dense: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Answer with the logits (B, 4, 128, 128) and the predicted IoU (B, 4) of all four masks."""
        decoder = FourMasksDecoder(self.sam.prompt_encoder, self.sam.mask_decoder)
        return decoder.decode(decoder.prepare_image(embeddings, dense), points, labels, boxes=boxes)

    def _first_clicks(self, target: Tensor, labelled: Tensor, boxed: bool) -> tuple[Tensor, Tensor]:
        """Draw a point on the target, half of the time with one beside it; with a box, both half of the time."""
        pixel = INPUT_SIZE / target.shape[-1]
        points, labels = sample_clicks(target, target, 1, pixel)
        away, away_labels = sample_clicks(~target & labelled, target, 1, pixel)
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
        labelled: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Draw up to the most points that an episode gives; half of the time an unseen answer comes between."""
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
            wrong = ((logits > 0) != target) & labelled
            for region, some in ((wrong, informed), (labelled, count - informed)):
                if some:
                    more, more_labels = sample_clicks(region, target, some, pixel)
                    points, labels = torch.cat([points, more], 1), torch.cat([labels, more_labels], 1)
        return points, labels

    def _semantic(self, features: Tensor, classes: Tensor) -> Tensor:
        logits = self.classifier(features)
        stride = classes.shape[-1] // logits.shape[-1]
        classes = classes[:, stride // 2 :: stride, stride // 2 :: stride]
        total = F.cross_entropy(logits.float(), classes.long(), ignore_index=VOID, reduction="sum")
        return total / (classes != VOID).sum().clamp(min=1)


def mask_losses(logits: Tensor, predicted_iou: Tensor, target: Tensor, labelled: Tensor) -> Tensor:
    """Cross-entropy + Dice of the single mask and of the best of the three, and the error of every predicted IoU.

    logits (B, 4, H, W), predicted_iou (B, 4), target and labelled bool (B, H, W). Returns a scalar.
    """
    logits, weight = logits.float(), labelled[:, None].float()
    truth = target[:, None].float().expand_as(logits)
    entropy = (F.binary_cross_entropy_with_logits(logits, truth, reduction="none") * weight).mean((2, 3))
    each = 2 * entropy + dice_loss(logits.sigmoid() * weight, truth * weight)
    iou = mask_iou(logits.detach() > 0, target, labelled)
    return each[:, 0].mean() + 0.5 * each[:, 1:].amin(1).mean() + 0.2 * F.mse_loss(predicted_iou.float(), iou)


def mask_iou(answers: Tensor, target: Tensor, labelled: Tensor) -> Tensor:
    """IoU, float (B, K), of answers, bool (B, K, H, W), with targets where they are labelled, both bool (B, H, W)."""
    target, labelled = target[:, None], labelled[:, None]
    union = ((answers | target) & labelled).sum((2, 3)).clamp(min=1)
    return (answers & target & labelled).sum((2, 3)) / union


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
    """Bring masks, bool (B, 256, 256), to the size of low-resolution logits."""
    half: Tensor = F.avg_pool2d(masks[:, None].float(), 2)[:, 0] > 0.5
    return half


def score(sam: nn.Module, config: DictConfig) -> dict[str, dict[str, float]]:
    """Score on what training never saw: IoU after each of `COUNTS` oracle clicks, and `first_answers`."""
    assert isinstance(sam, Sam)
    root = Path(config.voc_val)
    targets = {task: list(scene_targets(config.score_scenes, [task])) for task in drawn_scenes.TASKS}
    targets |= {
        "voc_val_by_class": list(voc_targets(root, merged=False)),
        "voc_val_merged": list(voc_targets(root, merged=True)),
    }
    if config.saliency_val:
        targets["saliency_val"] = list(saliency_targets(Path(config.saliency_val)))
    found: dict[str, dict[str, float]] = {}
    for name, some in targets.items():
        curve = {str(count): iou for count, iou in click_curve(sam, some, COUNTS).items()}
        found[name] = curve | first_answers(sam, some)
    return found


def save(sam: nn.Module, folder: Path) -> None:
    save_file(half_precision(sam), folder / "sam_tiny.safetensors")


def _joined(drawn: Picture, taken: Picture, first_view: int) -> Picture:
    """Put both in one batch; the photographs' views are counted from `first_view`."""
    taken = taken._replace(view=taken.view + first_view)
    image, targets, valid, classes, view = (torch.cat(pair) for pair in zip(drawn, taken, strict=True))
    return Picture(image, targets, valid, classes, view)
