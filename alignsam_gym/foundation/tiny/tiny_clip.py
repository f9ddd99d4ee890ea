"""The embedded CLIP: a ViT of ``open_clip``'s, small enough to ship. ``CLIP_CARD.md`` says how it was trained."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import open_clip
from open_clip.constants import IMAGENET_MEAN, IMAGENET_STD
from open_clip.tokenizer import SimpleTokenizer
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from alignsam_gym.errors import WeightsError
from alignsam_gym.foundation import tiny
from alignsam_gym.foundation.sam.official_checkpoints import file_digest
from alignsam_gym.foundation.tiny.tiny_sam import EMBED_DIM, INPUT_SIZE, STRIDE, TinyImageEncoder

WEIGHTS = Path(__file__).with_name("clip_tiny.safetensors")
PATCH = 2 * STRIDE
CONTEXT = 32
"""The number of tokens of a text, with its start and end. Longer texts are cut."""

MERGES = 1536
"""The number of byte-pair merges that the tokenizer has, of CLIP's 48,894."""

_BYTES = 512  # two tokens for each byte: one inside a word, one at its end
_ENCODER = "visual.conv1.0."


class TinyTokenizer(SimpleTokenizer):  # type: ignore[misc]  # open_clip has no types
    """CLIP's tokenizer with the most frequent `MERGES` only: n texts → int64 (n, 32), ids below `vocab_size`.

    CLIP's whole vocabulary of 49,408 would be most of the weights. Here a rare word takes a few tokens more, and every
    text can still be written.

    Attributes:
        vocab_size: The number of tokens.
    """

    encoder: dict[str, int]
    decoder: dict[int, str]
    bpe_ranks: dict[tuple[str, str], int]
    all_special_ids: list[int]

    def __init__(self) -> None:
        super().__init__(context_length=CONTEXT)
        # CLIP's vocabulary begins with the bytes, goes on with the merges in order, and ends with the special tokens.
        tokens = [*islice(self.encoder, _BYTES + MERGES), *(self.decoder[i] for i in self.all_special_ids)]
        self.bpe_ranks = dict(islice(self.bpe_ranks.items(), MERGES))
        self.encoder = {token: number for number, token in enumerate(tokens)}
        self.decoder = dict(enumerate(tokens))
        self.vocab_size = len(tokens)
        self.all_special_ids = [self.vocab_size - 2, self.vocab_size - 1]
        self.sot_token_id, self.eot_token_id = self.all_special_ids


def build_tiny_clip(encoder: TinyImageEncoder) -> open_clip.CLIP:
    """Build an embedded CLIP, untrained except for `encoder`: 256 × 256 pixels, 16 × 16 patches, 192 features.

    **[ours]** The embedded SAM's image encoder, which stays frozen, and a strided convolution embed the patches. A ViT
    alone would need far more training to recognise anything in a photograph, and the shared part is shipped only once.

    Args:
        encoder: The embedded SAM's. It is used, not copied, and frozen.
    """
    model = open_clip.CLIP(
        192,
        open_clip.CLIPVisionCfg(
            layers=4, width=192, head_width=64, mlp_ratio=2.0, patch_size=PATCH, image_size=INPUT_SIZE
        ),
        open_clip.CLIPTextCfg(context_length=CONTEXT, vocab_size=_BYTES + MERGES + 2, width=128, heads=2, layers=3),
    )
    model.visual.conv1 = nn.Sequential(encoder.requires_grad_(False), nn.Conv2d(EMBED_DIM, 192, 2, stride=2))
    open_clip.set_model_preprocess_cfg(model, {"mean": IMAGENET_MEAN, "std": IMAGENET_STD})
    return model


def load_tiny_clip(weights: Path = WEIGHTS) -> open_clip.CLIP:
    """Load the embedded CLIP with its trained weights, float32, on the CPU.

    Args:
        weights: A file that `save_tiny_clip` wrote.

    Raises:
        WeightsError: The file is missing, holds something else, or belongs to another embedded SAM.
    """
    model = build_tiny_clip(tiny.load_tiny_sam().image_encoder)
    shared = {name: value for name, value in model.state_dict().items() if name.startswith(_ENCODER)}
    tiny.load_embedded(model, weights, "CLIP", shared)
    with safe_open(weights, "pt") as file:
        trained_on = (file.metadata() or {}).get("sam")
    if trained_on != file_digest(tiny.WEIGHTS):
        raise WeightsError(
            f"{weights} was trained on another embedded SAM than {tiny.WEIGHTS}; install the package again, or train "
            "the CLIP again: python -m experiments.pretrain model=clip."
        )
    return model


def save_tiny_clip(model: open_clip.CLIP, weights: Path) -> None:
    """Write all weights but the shared encoder's as float16 safetensors, with the embedded SAM's digest.

    Args:
        model: From `build_tiny_clip` or `load_tiny_clip`.
        weights: The file to write.
    """
    own = {name: value for name, value in model.state_dict().items() if not name.startswith(_ENCODER)}
    halves: dict[str, Tensor] = {name: value.half().contiguous() for name, value in own.items()}
    save_file(halves, weights, {"sam": file_digest(tiny.WEIGHTS)})
