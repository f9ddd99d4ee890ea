"""A promptable model as the environment uses it: encode images, decode batches of prompts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from segment_anything.modeling import MaskDecoder, Sam
from torch import Tensor

from alignsam_gym.errors import OptionError, WeightsError, check_choice
from alignsam_gym.foundation.sam.batched_decoder import BatchedDecoder, PreparedImage
from alignsam_gym.foundation.sam.build_sam import load_checkpoint
from alignsam_gym.foundation.sam.official_checkpoints import CHECKPOINTS, file_digest, remembered_digest, verify
from alignsam_gym.foundation.sam.sam2 import Sam2Decoder, Sam2MaskDecoder
from alignsam_gym.foundation.sam.sam_hq import HQDecoder, HQMaskDecoder
from alignsam_gym.foundation.tiny import WEIGHTS, load_tiny_sam
from alignsam_gym.transforms import resize_image

PREPROCESSING = 2
"""Version of what `BatchedSamPredictor.encode` does to an image; part of every cached embedding's key."""

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
"""Of encoding's arithmetic; ``auto`` is bfloat16 on a GPU that has it, else float32."""

DECODE_PRECISIONS = ("float32", "bfloat16")

_ENCODE_PIXELS = 1024 * 1024  # encoded at once: one image keeps a ViT busy, and its attention fills gigabytes

_DECODERS: dict[type[MaskDecoder], type[BatchedDecoder]] = {HQMaskDecoder: HQDecoder, Sam2MaskDecoder: Sam2Decoder}


class BatchedSamPredictor:
    """A frozen SAM, on one device. Another kind of SAM brings its modules, and the subclass of `BatchedDecoder`
    that runs its mask decoder.

    sam: a ``segment_anything`` model, its image encoder's output (B, R, h, w): the embedding E(x), and after its C
    channels whatever else the decoder needs of an image. fingerprint: identifies its weights. precision: of encoding,
    one of `PRECISIONS`. decode_precision: one of `DECODE_PRECISIONS`; in bfloat16 a decode keeps less memory, and where
    the processor multiplies bfloat16 takes two thirds of the time, but the last of three digits of a logit is lost.
    compile: let ``torch.compile`` make the decoder, on a GPU with CUDA graphs; the first decodes take minutes then.
    decode_batch: prompt sets decoded at once; `calibration.calibrate` measures what is best.
    """

    def __init__(
        self,
        sam: Sam,
        fingerprint: str,
        device: torch.device,
        precision: str = "float32",
        decode_precision: str = "float32",
        compile: bool = False,
    ) -> None:
        self.sam = sam.to(device).eval().requires_grad_(False)
        self._encode_type = _resolve_precision(precision, device)
        half = "" if self._encode_type == torch.float32 else f"-{self._encode_type}".replace("torch.", "")
        self.fingerprint = f"{fingerprint}-{PREPROCESSING}{half}"
        self.device = device
        self.input_size = sam.image_encoder.img_size
        height, width = sam.prompt_encoder.image_embedding_size
        self.embedding_shape = (sam.prompt_encoder.embed_dim, height, width)
        self.logits_shape = (4 * height, 4 * width)
        self.decode_batch = 8
        with torch.no_grad():
            self.decoder = decoder_of(self.sam)
        self.decode_precision, self.compiled = decode_precision, compile
        self._decode_type = getattr(torch, check_choice("decode_precision", decode_precision, DECODE_PRECISIONS))
        self._decode = self.decoder.decode
        if compile:
            mode = "reduce-overhead" if device.type == "cuda" else "default"
            self._decode = torch.compile(self.decoder.decode, mode=mode)
        self.encoding_shape = (sam.prompt_encoder.embed_dim + self.decoder.details, height, width)

    def resize(self, images: Sequence[np.ndarray]) -> Tensor:
        """Square frames, uint8 (S, S, 3) RGB each, at the model's own input size: uint8 (B, 3, size, size).

        Being square, they are not padded.
        """
        size = (self.input_size, self.input_size)
        resized = np.stack([resize_image(image, size) for image in images])
        return torch.from_numpy(resized).permute(0, 3, 1, 2)

    @torch.no_grad()
    def encode(self, images: Sequence[np.ndarray]) -> Tensor:
        """Records of square frames, uint8 (S, S, 3) RGB each: float32 (B, R, h, w), the first C channels E(x).

        With the architecture of vit_b and random weights, bfloat16 changes an embedding by 0.8% of its norm.
        """
        parts = self.resize(images).split(max(1, _ENCODE_PIXELS // self.input_size**2))
        encode, preprocess = self.sam.image_encoder, self.sam.preprocess
        with self._arithmetic(self._encode_type):
            return torch.cat([encode(preprocess(part.to(self.device).float())).float() for part in parts])

    @torch.no_grad()
    def prepare_image(self, encodings: Tensor) -> PreparedImage:
        """What `decode` needs of B images, encodings float32 (B, R, h, w)."""
        with self._arithmetic(self._decode_type):
            parts = [self.decoder.prepare_image(part) for part in encodings.split(self.decode_batch)]
        return PreparedImage(*(torch.cat(terms).to(self._decode_type) for terms in zip(*parts, strict=True)))

    @torch.no_grad()
    def decode(
        self, image: PreparedImage, rows: Tensor, points_unit: Tensor, labels: Tensor, last: Tensor | None = None
    ) -> Tensor:
        """Low-resolution logits (B, 4h, 4w) of B prompt sets, `decode_batch` at a time.

        image: from `read`. rows: int64 (B,), which of its images each prompt set is on.
        points_unit: float (B, N, 2), (x, y) as fractions of the frame's side.
        labels: int (B, N), 1 foreground, 0 background, −1 padding.
        last: float (B, 4h, 4w), logits of an earlier answer, given as dense prompts; None for none.
        """
        parts = []
        for chosen in torch.arange(len(rows), device=rows.device).split(self.decode_batch):
            some, p, given = rows[chosen], points_unit[chosen], labels[chosen]
            terms = PreparedImage(*(take_rows(term, some) for term in image))
            with self._arithmetic(self._decode_type):
                if last is not None:
                    terms = self.decoder.with_mask(terms, last[chosen][:, None])
                logits = self._decode(terms, p * self.input_size, given)[0][:, 0]
                # A copy: where it is compiled for CUDA, the next call writes over the answer of this one.
                parts.append(logits.to(torch.float32, copy=True))
        return torch.cat(parts)

    def _arithmetic(self, dtype: torch.dtype) -> torch.autocast:
        reduced = dtype != torch.float32
        return torch.autocast(self.device.type, dtype if reduced else None, enabled=reduced)


def take_rows(x: Tensor, rows: Tensor) -> Tensor:
    """Return ``x[rows]`` for int64 (n,), without a copy where the rows follow one another."""
    if not len(rows):
        return x[:0]
    first = int(rows[0])
    if torch.equal(rows, torch.arange(first, first + len(rows), device=rows.device)):
        return x[first : first + len(rows)]
    return x[rows]


def decoder_of(sam: Sam) -> BatchedDecoder:
    """The batched decoder of a SAM of any kind, at its present weights."""
    make = _DECODERS.get(type(sam.mask_decoder), BatchedDecoder)
    return make(sam.prompt_encoder, sam.mask_decoder)


def load_sam(
    name: str,
    device: str | torch.device = "auto",
    precision: str = "auto",
    decode_precision: str = "float32",
    compile: bool = False,
) -> BatchedSamPredictor:
    """The model called `name`, frozen.

    name: ``tiny``, the embedded one; one of `weights.CHECKPOINTS` (SAM, MobileSAM, SAM-HQ, SAM 2.1), whose official
    checkpoint must have been downloaded; or the path of a checkpoint of any of these. ``device="auto"`` takes
    CUDA if there is any; the rest is for `BatchedSamPredictor`. Raises OptionError for a name that is neither,
    WeightsError for a file that is missing (saying where to get it) or not what it should be.
    """
    target = resolve_device(device)
    if name == "tiny":
        sam, fingerprint = load_tiny_sam(), file_digest(WEIGHTS)
    else:
        path = _checkpoint_path(name)
        sam, fingerprint = load_checkpoint(path), remembered_digest(path)
    return BatchedSamPredictor(sam, fingerprint, target, precision, decode_precision, compile)


def _checkpoint_path(name: str) -> Path:
    if name in CHECKPOINTS:
        verify(CHECKPOINTS[name], remembered_digest)
        return CHECKPOINTS[name].path
    path = Path(name).expanduser()
    if path.is_file():
        return path
    if path.suffix or path.name != name:
        raise WeightsError(f"sam={name!r}: there is no checkpoint file {path.absolute()}.")
    raise OptionError(f"sam={name!r} is unknown; choose tiny, {', '.join(CHECKPOINTS)}, or the path of a checkpoint.")


def resolve_device(device: str | torch.device) -> torch.device:
    """`device`, with ``auto`` resolved, and ``cuda`` to which. Raises OptionError for one that is not here."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise OptionError(f"device={str(device)!r} cannot be used here ({str(error).splitlines()[0]}).") from error


def _resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    if check_choice("precision", precision, PRECISIONS) == "auto":
        precision = "bfloat16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "float32"
    return getattr(torch, precision)
