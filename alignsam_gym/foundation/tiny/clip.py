"""The embedded CLIP: small enough to ship, on the embedded SAM's backbone. See ``CLIP_CARD.md`` beside this file.

Importing this imports ``open_clip``, which takes seconds; that is why it stands apart from the embedded SAM.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import torch
from open_clip.tokenizer import SimpleTokenizer
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from alignsam_gym.errors import WeightsError
from alignsam_gym.foundation import tiny
from alignsam_gym.foundation.tiny.backbone import CHANNELS, Backbone, normalised
from alignsam_gym.foundation.tiny.model import INPUT_SIZE, STRIDE, _conv

WEIGHTS = Path(__file__).with_name("clip_tiny.safetensors")
DIM = 256
"""Elements of a feature."""

GRID = INPUT_SIZE // STRIDE
CONTEXT = 32
"""Tokens of a text, its start and end included; a longer one is cut."""

MERGES = 32000
"""How many of CLIP's 48,894 byte-pair merges the tokenizer knows: almost every everyday noun is one token."""

_MEANING = 128

_BYTES = 512  # a token for each byte, inside a word and at its end
_CLASSIFIER = 1280  # width of the layer that ImageNet's classifier reads
_BACKBONE = "image.backbone."


class TinyTokenizer(SimpleTokenizer):
    """CLIP's tokenizer with the most frequent `MERGES` only: any text → int64 (n, 32), ids below `vocab_size`.

    CLIP's vocabulary of 49,408 would be most of the weights. A rarer word costs a few tokens more; none is unknown.
    """

    encoder: dict[str, int]
    decoder: dict[int, str]
    bpe_ranks: dict[tuple[str, str], int]
    all_special_ids: list[int]

    def __init__(self) -> None:
        super().__init__(context_length=CONTEXT)
        # CLIP's vocabulary is the bytes, then what each merge makes, in order; the special tokens close it.
        tokens = [*islice(self.encoder, _BYTES + MERGES), *(self.decoder[i] for i in self.all_special_ids)]
        self.bpe_ranks = dict(islice(self.bpe_ranks.items(), MERGES))
        self.encoder = {token: number for number, token in enumerate(tokens)}
        self.decoder = dict(enumerate(tokens))
        self.vocab_size = len(tokens)
        self.all_special_ids = [self.vocab_size - 2, self.vocab_size - 1]
        self.sot_token_id, self.eot_token_id = self.all_special_ids


class TextTower(nn.Module):
    """A text's feature, a function of the weighted mean of its tokens' meanings; their order is not seen.

    Input: int64 (B, 32), from `TinyTokenizer`. Output: float (B, 256).
    """

    def __init__(self) -> None:
        super().__init__()
        vocabulary = _BYTES + MERGES + 2
        self.meanings = nn.Embedding(vocabulary, _MEANING)
        self.weights = nn.Embedding(vocabulary, 1)
        self.project = nn.Linear(_MEANING, DIM, bias=False)
        self.mix = nn.Sequential(nn.Linear(DIM, DIM), nn.GELU(), nn.Linear(DIM, DIM))
        for part in (self.meanings.weight, self.weights.weight):
            nn.init.normal_(part, std=0.01)  # a token that no training has met means next to nothing

    def forward(self, tokens: Tensor) -> Tensor:
        start, end = _BYTES + MERGES, _BYTES + MERGES + 1
        end_seen = (tokens == end).cumsum(1) > 0
        real = (~end_seen & (tokens != start))[..., None]
        weights = F.softplus(self.weights(tokens)) * real
        # The 1 keeps a text of nothing, or of nothing but filling words, small instead of arbitrary.
        mean = self.project((weights * self.meanings(tokens)).sum(1) / (1 + weights.sum(1)))
        return mean + self.mix(mean)


class ImageTower(nn.Module):
    """An image's features as a whole and cell by cell: ImageNet's own, and what finer stages add to them.

    Input: float (B, 3, 256, 256), as the backbone's. Output: float (B, 1 + 32², 256), the image's first.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.expand = nn.Conv2d(CHANNELS[-1], _CLASSIFIER, 1)
        self.project = nn.Conv2d(_CLASSIFIER, DIM, 1)
        self.detail = nn.Sequential(
            nn.Conv2d(sum(CHANNELS[1:]), 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(inplace=True),
            _conv(128, 128),
            nn.Conv2d(128, DIM, 1),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        return self.look(self.backbone.features(pixels)[1:])

    def look(self, features: Sequence[Tensor]) -> Tensor:
        """From the backbone's features of strides 8, 16 and 32, as they are."""
        named = F.relu6(self.expand(features[-1]))
        whole = self.project(named.mean((2, 3), keepdim=True))
        fine = self.detail(torch.cat([_on_grid(normalised(stage)) for stage in features], 1))
        cells = _on_grid(self.project(named)) + fine
        return torch.cat([whole.flatten(2), cells.flatten(2)], 2).transpose(1, 2)


class TinyClip(nn.Module):
    """Both towers; features are compared by their cosine."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.image = ImageTower(backbone)
        self.text = TextTower()

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Features of unit length, (B, 1 + 32², 256): the image's, then its cells', row by row."""
        return F.normalize(self.image(pixels), dim=-1)

    def encode_text(self, tokens: Tensor, normalize: bool = False) -> Tensor:
        """Features (B, 256), of unit length if `normalize`."""
        features = self.text(tokens)
        return F.normalize(features, dim=-1) if normalize else features


def _on_grid(x: Tensor) -> Tensor:
    return F.interpolate(x, (GRID, GRID), mode="bilinear", align_corners=False)


def build_tiny_clip() -> TinyClip:
    """An embedded CLIP, untrained but for its backbone, the embedded SAM's, which stays frozen and is shipped once."""
    return TinyClip(tiny.load_backbone())


def load_tiny_clip(weights: Path = WEIGHTS) -> TinyClip:
    """The embedded CLIP with its trained weights, float32, on the CPU. Raises WeightsError."""
    model = build_tiny_clip()
    shared = {name: value for name, value in model.state_dict().items() if name.startswith(_BACKBONE)}
    tiny.load_embedded(model, weights, "CLIP", shared)
    with safe_open(weights, "pt") as file:
        trained_on = (file.metadata() or {}).get("backbone")
    if trained_on != tiny.digest(model.image.backbone):
        raise WeightsError(
            f"{weights} was trained on another backbone than {tiny.WEIGHTS} has; install the package again, or train "
            "the CLIP again: python -m experiments.pretrain_tiny model=clip."
        )
    return model


def save_tiny_clip(model: TinyClip, weights: Path) -> None:
    """All but the shared backbone as float16 safetensors, with the digest of the backbone that it belongs to."""
    own = {name: value for name, value in model.state_dict().items() if not name.startswith(_BACKBONE)}
    halves: dict[str, Tensor] = {
        name: (value.half() if value.is_floating_point() else value).contiguous() for name, value in own.items()
    }
    save_file(halves, weights, {"backbone": tiny.digest(model.image.backbone)})
