"""Trains the embedded CLIP to name crops of photographs and drawn scenes, and to show where the named thing is.

The class token is trained contrastively, as CLIP's is, against the names in random prompts. The patch tokens of the
surgery's new path are trained so that what the surgery computes of them, the answer to a text less the answer to the
empty one, is the log-odds of the named thing against the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import open_clip
import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn import functional as F

from alignsam_gym.experiments.pretrain.names import NamedPhotographs, NamedPicture, NamedScenes
from alignsam_gym.experiments.pretrain.optimise import Optimiser, batches
from alignsam_gym.experiments.pretrain.scores import map_scores, scene_targets, voc_targets
from alignsam_gym.foundation.clip_surgery import TEMPLATES, ClipSurgery, dual_path
from alignsam_gym.foundation.tiny import load_tiny_sam
from alignsam_gym.foundation.tiny.tiny_clip import PATCH, TinyTokenizer, build_tiny_clip, load_tiny_clip, save_tiny_clip
from alignsam_gym.foundation.tiny.tiny_clip_vocabulary import NAMES
from alignsam_gym.foundation.tiny.tiny_sam import INPUT_SIZE
from alignsam_gym.srm.segmentation_loss import dice_loss

_NEVER = -1e4  # the logit of what must not be chosen
_PRESENT = 0.005  # share of an image from which on something counts as shown


def build(config: DictConfig) -> open_clip.CLIP:
    return load_tiny_clip(Path(config.init)) if config.init else build_tiny_clip(load_tiny_sam().image_encoder)


def pictures(config: DictConfig) -> Iterator[NamedPicture]:
    """Batches, half drawn scenes, half photographs."""
    grid = INPUT_SIZE // PATCH
    photographs = NamedPhotographs(Path(config.photographs), grid)
    scenes = NamedScenes(config.scenes, grid, config.workers)
    for drawn, taken in zip(batches(scenes, config), batches(photographs, config), strict=True):
        yield NamedPicture(*(torch.cat(pair) for pair in zip(drawn, taken, strict=True)))


class Trainer:
    """The losses and the texts that they compare the images with."""

    def __init__(self, model: open_clip.CLIP, config: DictConfig) -> None:
        self.model, self.config = model, config
        self.sharpness = nn.Parameter(torch.tensor(3.0))  # log of what the maps' cosines are multiplied by
        self.optimiser = Optimiser(model, [self.sharpness], config, average_buffers=False)
        self.average = self.optimiser.average
        tokenizer = TinyTokenizer()
        self.prompts = [
            tokenizer([template(word) for word in words for template in TEMPLATES]) for words in (*NAMES, ("",))
        ]
        self.mean = torch.tensor(model.visual.image_mean).view(3, 1, 1)
        self.std = torch.tensor(model.visual.image_std).view(3, 1, 1)

    def step(self, batch: NamedPicture) -> dict[str, float]:
        """One update; returns the losses."""
        self.model.train()
        self.model.visual.conv1[0].eval()  # the shared encoder is frozen, its statistics too
        image, shares, valid, known = batch
        with self.optimiser.autocast():
            texts = self.model.encode_text(self._prompts(), normalize=True).float()
            visual = self.model.visual
            pixels = (image / 255 - self.mean) / self.std
            tokens = dual_path(visual, pixels, visual.positional_embedding).float()
        answers = F.normalize(tokens, dim=-1) @ texts.T
        contrast = contrastive_loss(
            self.model.logit_scale.exp().clamp(max=100) * answers[:, 0, :-1], shares.mean((2, 3)) > _PRESENT, known
        )
        dense = map_losses(
            self.sharpness.exp() * answers[:, 1:], shares.flatten(2).transpose(1, 2), valid.flatten(1), known
        )
        loss = self.config.contrast_weight * contrast + sum(dense.values())
        self.optimiser.step(loss)
        return {"loss": loss.item(), "contrast": contrast.item(), **{name: x.item() for name, x in dense.items()}}

    def _prompts(self) -> Tensor:
        """One prompt for each name, and the empty one: a random word for it in a random template."""
        return torch.stack([some[int(torch.randint(len(some), ()))] for some in self.prompts])


def contrastive_loss(logits: Tensor, present: Tensor, known: Tensor) -> Tensor:
    """CLIP's loss where an image may show several names, and a name may be in several images.

    logits, and bool present and known: (B, K). Each image's names are equally likely, and each name's images.
    """
    logits = logits.masked_fill(~known, _NEVER)
    target = (present & known).float()
    both = []
    for dim in (0, 1):
        count = target.sum(dim)
        each = -(target * logits.log_softmax(dim)).sum(dim) / count.clamp(min=1)
        both.append(_mean(each, count > 0))
    return torch.stack(both).mean()


def map_losses(logits: Tensor, shares: Tensor, valid: Tensor, known: Tensor) -> dict[str, Tensor]:
    """How far the surgery's maps are from the masks.

    logits: (B, N, K + 1), the patches' answers to K names and to the empty text. shares: (B, N, K), each name's share
    of a patch. valid: (B, N), a patch's labelled share. known: bool (B, K).

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
    assert isinstance(model, open_clip.CLIP)
    surgery = ClipSurgery(model, TinyTokenizer(), "valid", torch.device("cpu"), INPUT_SIZE)
    return {
        "shapes": map_scores(surgery, scene_targets(config.score_scenes)),
        "voc_val": map_scores(surgery, voc_targets(Path(config.voc_val), merged=False)),
    }


def save(model: nn.Module, folder: Path) -> None:
    assert isinstance(model, open_clip.CLIP)
    save_tiny_clip(model, folder / "clip_tiny.safetensors")
