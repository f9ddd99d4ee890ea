"""The embedded CLIP: small enough to ship, on the backbone of the embedded SAM. ``CLIP_CARD.md`` tells its training.

**[ours]** Its image tower has no attention and needs no surgery: it was trained so that a cell's answer to a text, less
its answer to the empty text, is the log-odds of the named thing there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from alignsam_gym.errors import WeightsError
from alignsam_gym.foundation import tiny
from alignsam_gym.foundation.clip_model import ClipModel
from alignsam_gym.foundation.tiny.tiny_backbone import (
    CHANNELS,
    PIXEL_MEAN,
    PIXEL_STD,
    Backbone,
    normalised,
    on_one_grid,
)
from alignsam_gym.foundation.tiny.tiny_sam import INPUT_SIZE, STRIDE, TinyImageEncoder, conv_norm_relu
from alignsam_gym.transforms import resize_image

FEATURES = 256
"""The number of elements of a feature."""

GRID = INPUT_SIZE // STRIDE
"""Side of the maps, in cells."""

CONTEXT = 32
"""The number of tokens of a text, with its start and end. Longer texts are cut."""

MERGES = 32000
"""The number of byte-pair merges that the tokenizer has, of CLIP's 48,894. Almost every everyday noun is one token."""

BYTES = 512
"""The number of tokens for single bytes: two for each, one inside a word and one at its end."""

CLASSIFIER_FEATURES = 1280
"""Width of the layer that ImageNet's classifier reads."""

_MEANING = 128  # elements of a token's meaning
_START, _END = BYTES + MERGES, BYTES + MERGES + 1
_BACKBONE = "image.backbone."


class TextTower(nn.Module):
    """Encodes a text by the weighted mean of the meanings of its tokens. It does not see their order."""

    def __init__(self) -> None:
        super().__init__()
        vocabulary = BYTES + MERGES + 2
        self.meanings = nn.Embedding(vocabulary, _MEANING)
        self.weights = nn.Embedding(vocabulary, 1)
        self.project = nn.Linear(_MEANING, FEATURES, bias=False)
        self.mix = nn.Sequential(nn.Linear(FEATURES, FEATURES), nn.GELU(), nn.Linear(FEATURES, FEATURES))
        for part in (self.meanings.weight, self.weights.weight):
            nn.init.normal_(part, std=0.01)  # a token that was in no training text means next to nothing

    def forward(self, tokens: Tensor) -> Tensor:
        """Encode texts.

        Args:
            tokens: int64 (B, L), from `TinyTokenizer`. What comes after the end is not read.

        Returns:
            Features, float (B, 256).
        """
        ended = (tokens == _END).cumsum(1) > 0
        read = (~ended & (tokens != _START))[..., None]
        weights = F.softplus(self.weights(tokens)) * read
        # The 1 keeps the mean small where no token weighs much; without it such a text would mean anything at all.
        mean = self.project((weights * self.meanings(tokens)).sum(1) / (1 + weights.sum(1)))
        features: Tensor = mean + self.mix(mean)
        return features


class ImageTower(nn.Module):
    """Encodes an image, whole and cell by cell, by what ImageNet's classifier reads and what finer features add.

    Args:
        backbone: The embedded SAM's. It is used, not copied.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.expand = nn.Conv2d(CHANNELS[-1], CLASSIFIER_FEATURES, 1)
        self.project = nn.Conv2d(CLASSIFIER_FEATURES, FEATURES, 1)
        self.detail = nn.Sequential(
            nn.Conv2d(sum(CHANNELS[1:]), 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(inplace=True),
            conv_norm_relu(128, 128),
            nn.Conv2d(128, FEATURES, 1),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode images.

        Args:
            pixels: float (B, 3, 256, 256), normalised as the backbone's.

        Returns:
            Features, float (B, 1 + 32², 256): the whole image's, then those of its cells, row by row.
        """
        return self.from_backbone(self.backbone.features(pixels)[1:])

    def from_backbone(self, features: Sequence[Tensor]) -> Tensor:
        """Encode images by the backbone's features of strides 8, 16 and 32 before they are normalised."""
        named = F.relu6(self.expand(features[-1]))
        whole = self.project(named.mean((2, 3), keepdim=True))
        fine = self.detail(on_one_grid([normalised(stage) for stage in features]))
        cells = _on_grid(self.project(named)) + fine
        return torch.cat([whole.flatten(2), cells.flatten(2)], 2).transpose(1, 2)


class TinyClip(nn.Module):
    """Both towers. The answer of an image or a cell to a text is the product of its feature and the text's direction.

    Features of images are the longer, the stronger the evidence is.

    Args:
        backbone: The embedded SAM's. It is used, not copied.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.image = ImageTower(backbone)
        self.text = TextTower()

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Encode images, as `ImageTower` does."""
        features: Tensor = self.image(pixels)
        return features

    def encode_text(self, tokens: Tensor, normalize: bool = False) -> Tensor:
        """Encode texts, as `TextTower` does; `normalize` brings the features to unit length."""
        features: Tensor = self.text(tokens)
        return F.normalize(features, dim=-1) if normalize else features


class EmbeddedClip(ClipModel):
    """The embedded CLIP as the environment uses it.

    Args:
        model: It is moved to `device` and frozen.
        fingerprint: As `ClipModel` has it.
        device: As `ClipModel` has it.
    """

    def __init__(self, model: TinyClip, fingerprint: str, device: torch.device) -> None:
        super().__init__(model, _tokenize, fingerprint, device, INPUT_SIZE, GRID, sum(CHANNELS[1:]))

    @torch.no_grad()
    def encode(self, images: Sequence[np.ndarray]) -> Tensor:
        """Encode images, as `ClipModel.encode`. The features are not of unit length."""
        features: Tensor = self.model.encode_image((self._resize(images) - PIXEL_MEAN) / PIXEL_STD)
        return features

    def dense_from_pixels(self, pixels: Tensor) -> Tensor:
        """Describe cells by the backbone's features of strides 8, 16 and 32, each normalised over its channels."""
        return on_one_grid(self.model.image.backbone((pixels - PIXEL_MEAN) / PIXEL_STD)[1:])

    def describes_as(self, encoder: nn.Module) -> bool:
        """Tell whether an image encoder has this CLIP's backbone, so that its stages are these dense features."""
        if not isinstance(encoder, TinyImageEncoder):
            return False
        return tiny.weights_digest(encoder.backbone) == tiny.weights_digest(self.model.image.backbone)

    def frame_side(self, image_size: int) -> int:
        """Return the side of the frames that `resize` takes as they are: the embedded SAM's input."""
        return INPUT_SIZE

    def _resize(self, images: Sequence[np.ndarray]) -> Tensor:
        resized = [resize_image(image, (INPUT_SIZE, INPUT_SIZE)) for image in images]  # as the embedded SAM does
        return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).to(self.device).float()

    def _evidence(self, answers: Tensor) -> Tensor:
        return answers.sigmoid()  # by training they are log-odds


def build_tiny_clip() -> TinyClip:
    """Build an embedded CLIP, untrained except for its backbone.

    The backbone is the embedded SAM's, frozen, so that it is shipped only once.

    Raises:
        WeightsError: As for `load_tiny_sam`.
    """
    return TinyClip(tiny.load_backbone())


def load_tiny_clip(weights: Path = tiny.CLIP_WEIGHTS) -> TinyClip:
    """Load the embedded CLIP with its trained weights, float32, on the CPU.

    Args:
        weights: A file that `save_tiny_clip` wrote.

    Raises:
        WeightsError: The file is missing, holds something else, or belongs to another backbone.
    """
    model = build_tiny_clip()
    shared = {name: value for name, value in model.state_dict().items() if name.startswith(_BACKBONE)}
    tiny.load_embedded(model, weights, "CLIP", shared)
    with safe_open(weights, "pt") as file:
        trained_on = (file.metadata() or {}).get("backbone")
    if trained_on != tiny.weights_digest(model.image.backbone):
        raise WeightsError(
            f"{weights} was trained on another backbone than {tiny.WEIGHTS} has; install the package again, or train "
            "the CLIP again: python -m experiments.pretrain model=clip."
        )
    return model


def save_tiny_clip(model: TinyClip, weights: Path) -> None:
    """Write all weights but the shared backbone's as float16 safetensors, with the backbone's digest.

    Args:
        model: From `build_tiny_clip` or `load_tiny_clip`.
        weights: The file to write.
    """
    own = {name: value for name, value in tiny.half_precision(model).items() if not name.startswith(_BACKBONE)}
    save_file(own, weights, {"backbone": tiny.weights_digest(model.image.backbone)})


def _tokenize(texts: list[str]) -> Tensor:
    from alignsam_gym.foundation.tiny.tiny_tokenizer import TOKENIZER  # takes seconds, and only texts need it

    tokens: Tensor = TOKENIZER(texts)
    return tokens


def _on_grid(x: Tensor) -> Tensor:
    return F.interpolate(x, (GRID, GRID), mode="bilinear", align_corners=False)
