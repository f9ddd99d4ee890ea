"""Trains the embedded CLIP's image tower to show where a named thing is, in photographs and drawn scenes.

Its text tower is finished (`initial_clip`) and stays as it is, so that what is learned about the names that have masks
holds for others. The cells' features are trained so that the answer to a text less the answer to the empty one is the
log-odds of the named thing against the rest; and so that, averaged to the backbone's own resolution, they go on saying
of ImageNet's 1,000 classes what its classifier says.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn import functional as F

from alignsam_gym.experiments.pretrain.feature_cache import FeatureCache
from alignsam_gym.experiments.pretrain.named_images import NamedPhotographs, NamedPicture, NamedScenes
from alignsam_gym.experiments.pretrain.names import TAUGHT, check_names
from alignsam_gym.experiments.pretrain.noun_embeddings import imagenet_classes
from alignsam_gym.experiments.pretrain.optimise import Optimiser, batches
from alignsam_gym.experiments.pretrain.published_backbone import published_efficientnet
from alignsam_gym.experiments.pretrain.scores import map_scores, scene_targets, voc_targets
from alignsam_gym.experiments.pretrain.training_images import Photograph, all_photographs
from alignsam_gym.foundation.tiny.tiny_backbone import PIXEL_MEAN, PIXEL_STD
from alignsam_gym.foundation.tiny.tiny_clip import (
    GRID,
    EmbeddedClip,
    TinyClip,
    build_tiny_clip,
    load_tiny_clip,
    save_tiny_clip,
)
from alignsam_gym.srm.segmentation_loss import dice_loss

_NEVER = -1e4  # the logit of what must not be chosen
_PRESENT = 0.005  # share of an image from which on something counts as shown


def build(config: DictConfig) -> TinyClip:
    """Load the weights of `config.init`, from `initial_clip` or an earlier training; else random ones."""
    model = load_tiny_clip(Path(config.init)) if config.init else build_tiny_clip()
    model.text.requires_grad_(False)
    model.image.expand.requires_grad_(False)
    return model


def pictures(config: DictConfig, steps: int) -> Iterator[NamedPicture]:
    """Yield `steps` batches, drawn scenes first, then photographs."""
    photographs = NamedPhotographs(_named(config), config.views, GRID, check_names(config.left_out))
    scenes = NamedScenes(config.scenes, config.views, GRID, config.workers)
    drawn = batches(scenes, config.drawn, steps)
    taken = batches(photographs, config.batch_size - config.drawn, steps)
    first = config.scenes * config.views
    for some, others in zip(drawn, taken, strict=True):
        others = others._replace(view=others.view + first)
        yield NamedPicture(*(torch.cat(pair) for pair in zip(some, others, strict=True)))


def _named(config: DictConfig) -> list[Photograph]:
    """List one in so many of the photographs whose regions have names."""
    return [each for each in all_photographs(config) if each.vocabulary][:: config.every]


class Trainer:
    """The losses and the texts that they compare the images with."""

    def __init__(self, model: TinyClip, config: DictConfig) -> None:
        self.model, self.config = model, config
        self.left_out = check_names(config.left_out)
        self.steepness = nn.Parameter(torch.tensor(0.0))  # log of what the answers to the classes are multiplied by
        self.optimiser = Optimiser(model, [self.steepness], config, average_buffers=True)
        self.average = self.optimiser.average
        self.features = FeatureCache(Path(config.features), lambda pixels: model.image.backbone.features(pixels)[1:])
        self.classifier = published_efficientnet().classifier.requires_grad_(False) if config.classes_weight else None
        clip = EmbeddedClip(model, "trained", torch.device("cpu"))
        self.texts = [clip.encode_texts(words) for words in (*TAUGHT, ("",))]
        self.classes = clip.encode_texts([each.names[0] for each in imagenet_classes("imagenet-1k")])
        for part in (model.image.project, model.image.detail):
            part.requires_grad_(True)

    def step(self, batch: NamedPicture) -> dict[str, float]:
        """One update; returns the losses."""
        self.model.train()
        image, shares, valid, known, views = batch
        known[:, self.left_out] = False  # nor is it meant that they are nowhere
        with self.optimiser.autocast():
            pixels = (image.float() - PIXEL_MEAN) / PIXEL_STD
            features = self.features(views, pixels)
            cells = self.model.image.from_backbone(features)[:, 1:].float()
            kept = self._kept(self.classifier, features[-1], cells) if self.classifier else torch.zeros(())
        answers = cells @ self._texts().T
        dense = map_losses(answers, shares.flatten(2).transpose(1, 2), valid.flatten(1), known)
        loss = sum(dense.values()) + self.config.classes_weight * kept
        self.optimiser.step(loss)
        return {"loss": loss.item(), "classes": kept.item(), **{name: x.item() for name, x in dense.items()}}

    def _texts(self) -> Tensor:
        """Choose a word for each name, and return its feature, and that of the empty text."""
        return torch.stack([some[int(torch.randint(len(some), ()))] for some in self.texts])

    def _kept(self, classifier: nn.Linear, deepest: Tensor, cells: Tensor) -> Tensor:
        """Kullback-Leibler divergence between what cells and classifier say of ImageNet's 1,000 classes."""
        with torch.no_grad():
            named = F.relu6(self.model.image.expand(deepest)).flatten(2).transpose(1, 2)
            said = classifier(named).float().log_softmax(2)
        side = deepest.shape[-1]
        coarse = F.adaptive_avg_pool2d(cells.transpose(1, 2).unflatten(2, (GRID, GRID)), side)
        answers = coarse.flatten(2).transpose(1, 2) @ self.classes.T
        answered = (self.steepness.exp() * answers).log_softmax(2)
        return F.kl_div(answered, said, log_target=True, reduction="none").sum(2).mean()


def map_losses(logits: Tensor, shares: Tensor, valid: Tensor, known: Tensor) -> dict[str, Tensor]:
    """How far the maps are from the masks.

    logits: (B, N, K + 1), the cells' answers to K names and to the empty text. shares: (B, N, K), each name's share
    of a cell. valid: (B, N), a cell's labelled share. known: bool (B, K).

    ``which``: cross-entropy over all texts, the empty one standing for what has no name; the mean over what is there,
    so that small things weigh as much as large ones. ``where``: binary cross-entropy of each name's map alone.
    ``overlap``: Dice of the maps of what is there.
    """
    rest = (valid - shares.sum(2)).clamp(min=0)
    target = torch.cat([shares, rest[..., None]], 2)
    allowed = F.pad(known, (0, 1), value=True)[:, None]
    likelihood = logits.masked_fill(~allowed, _NEVER).log_softmax(2)
    each = -(target * likelihood).sum(1) / target.sum(1).clamp(min=1e-6)
    which = _mean(each, target.mean(1) > _PRESENT)

    single = logits[..., :-1] - logits[..., -1:]
    truth = shares / valid.clamp(min=1e-6)[..., None]
    entropy = F.binary_cross_entropy_with_logits(single, truth.clamp(max=1), reduction="none")
    weight = valid[..., None] * known[:, None]
    where = (entropy * weight).sum() / valid.sum()

    dice = dice_loss(single.sigmoid() * weight, shares, dim=(1,))
    return {"which": which, "where": where, "overlap": _mean(dice, (shares.mean(1) > _PRESENT) & known)}


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    """The mean of the chosen values, 0 if there are none; values float and chosen bool, of one shape."""
    return (values * chosen).sum() / chosen.sum().clamp(min=1)


def score(model: nn.Module, config: DictConfig) -> dict[str, dict[str, dict[str, float]]]:
    """`map_scores` by name, on what training never saw."""
    assert isinstance(model, TinyClip)
    clip = EmbeddedClip(model, "scored", torch.device("cpu"))
    return {
        "shapes": map_scores(clip, scene_targets(config.score_scenes)),
        "voc_val": map_scores(clip, voc_targets(Path(config.voc_val), merged=False)),
    }


def save(model: nn.Module, folder: Path) -> None:
    assert isinstance(model, TinyClip)
    save_tiny_clip(model, folder / "clip_tiny.safetensors")
