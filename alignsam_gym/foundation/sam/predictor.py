"""A frozen SAM as the environment uses it: encode each image once, then decode batches of prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from segment_anything.modeling import MaskDecoder, Sam
from torch import Tensor

from alignsam_gym.errors import OptionError, WeightsError, check_choice, first_line
from alignsam_gym.foundation.devices import resolve_device
from alignsam_gym.foundation.sam.batched_decoder import BatchedDecoder, PreparedImage
from alignsam_gym.foundation.sam.build_sam import load_sam_checkpoint
from alignsam_gym.foundation.sam.hf_checkpoints import HF, load_hf_sam
from alignsam_gym.foundation.sam.official_checkpoints import (
    CHECKPOINTS,
    file_digest,
    remembered_digest,
    verify_checkpoint,
)
from alignsam_gym.foundation.sam.sam2 import Sam2Decoder, Sam2MaskDecoder
from alignsam_gym.foundation.sam.sam_hq import HQDecoder, HQMaskDecoder
from alignsam_gym.foundation.tiny import WEIGHTS, load_tiny_sam
from alignsam_gym.foundation.tiny.tiny_backbone import on_one_grid
from alignsam_gym.foundation.tiny.tiny_sam import TinyImageEncoder
from alignsam_gym.rows import index_on
from alignsam_gym.transforms import resize_image

EMBEDDED_PREPROCESSING, SAM_PREPROCESSING = 3, 3
"""The version of what `BatchedSamPredictor.encode` does to an image for the embedded SAM, and for any other.

It is part of every cached embedding's key.
"""

Precision = Literal["auto", "float32", "bfloat16", "float16"]
"""Choices for the arithmetic of encoding. ``auto`` is bfloat16 on a GPU that has it, else float32."""

DecodePrecision = Literal["float32", "bfloat16", "auto"]
"""Choices for the arithmetic of decoding. ``auto`` is float32 until `calibrate_decoding` has measured both."""

_ENCODE_PIXELS = 1024 * 1024  # encoded at once: one image keeps a ViT busy, and its attention fills gigabytes

_DECODERS: dict[type[MaskDecoder], type[BatchedDecoder]] = {HQMaskDecoder: HQDecoder, Sam2MaskDecoder: Sam2Decoder}


class BatchedSamPredictor:
    """A frozen SAM on one device, which decodes prompts on many images at once.

    The image encoder's output, an *encoding*, is float (B, R, h, w): first the C channels of the embedding E(x), then
    the high-resolution features that the mask decoder of SAM-HQ or SAM 2.1 needs. For SAM, R is C.

    Args:
        sam: A ``segment_anything`` model, or one with the same parts. It is moved to `device` and frozen.
        fingerprint: Identifies the weights. It is part of every cached embedding's key.
        device: Where the model runs.
        precision: Of encoding, a `Precision`.
        decode_precision: Of decoding, a `DecodePrecision`. In bfloat16 a prepared image takes half the memory,
            and a decode two thirds of the time where the processor multiplies bfloat16. A logit then has two to three
            significant digits.
        compile: Whether ``torch.compile`` makes the decoder, on a GPU with CUDA graphs. The first decodes then take
            minutes.

    Attributes:
        sam: The model itself.
        decoder: The `BatchedDecoder` that runs its prompt encoder and mask decoder.
        fingerprint: The given one, with the version and the precision of encoding.
        device: Where the model runs.
        input_size: Side of the image encoder's input, in pixels.
        embedding_shape: (C, h, w) of E(x).
        encoding_shape: (R, h, w).
        logits_shape: (4h, 4w) of the low-resolution logits.
        decode_batch: The number of prompt sets decoded at once; `calibrate_decoding` measures the best one.
        encode_type: The dtype that encoding computes in.
        decode_type: The dtype that decoding computes in.
        decode_precision: As given.
        compiled: As given by `compile`.

    Raises:
        OptionError: There is no such precision.
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
        self.encode_type = _resolve_precision(precision, device)
        self._embedded = isinstance(sam.image_encoder, TinyImageEncoder)
        self.fingerprint = f"{fingerprint}-{EMBEDDED_PREPROCESSING if self._embedded else SAM_PREPROCESSING}"
        if self.encode_type != torch.float32:
            self.fingerprint += f"-{self.encode_type}".replace("torch.", "")
        self.device = device
        self.input_size = sam.image_encoder.img_size
        height, width = sam.prompt_encoder.image_embedding_size
        self.embedding_shape = (sam.prompt_encoder.embed_dim, height, width)
        self.logits_shape = (4 * height, 4 * width)
        self.decode_batch = 8
        with torch.no_grad():
            self.decoder = decoder_of(self.sam)
        self.decode_precision, self.compiled = decode_precision, compile
        check_choice("decode_precision", decode_precision, get_args(DecodePrecision))
        self.decode_type = torch.bfloat16 if decode_precision == "bfloat16" else torch.float32
        self._decode = self.decoder.decode
        if compile:
            mode = "reduce-overhead" if device.type == "cuda" else "default"
            self._decode = _compiled(self.decoder.decode, mode)
        self.encoding_shape = (sam.prompt_encoder.embed_dim + self.decoder.high_res_channels, height, width)

    def resize(self, images: Sequence[np.ndarray]) -> Tensor:
        """Resize images to the model's input. They are square, so nothing is padded.

        It is SAM's own resizing, by Pillow. The embedded SAM is resized as in its training, by OpenCV, whose levels are
        rounded otherwise: with ViT-B this alone changes an embedding by 0.7% of its norm. [ours]

        Args:
            images: B square frames of any side, uint8 (S, S, 3), RGB.

        Returns:
            uint8 (B, 3, input_size, input_size), on the CPU.
        """
        if self._embedded:
            resized = [resize_image(image, (self.input_size, self.input_size)) for image in images]
        else:
            from segment_anything.utils.transforms import ResizeLongestSide  # torchvision, which takes seconds

            transform = ResizeLongestSide(self.input_size)
            resized = [transform.apply_image(image) for image in images]
        return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2)

    @torch.no_grad()
    def encode(self, images: Sequence[np.ndarray]) -> Tensor:
        """Encode images.

        With the architecture of vit_b and random weights, bfloat16 changes an embedding by 0.8% of its norm.

        Args:
            images: B square frames of any side, uint8 (S, S, 3), RGB.

        Returns:
            The encodings, float32 (B, R, h, w), on the model's device. Their first C channels are E(x).
        """
        parts = self.resize(images).split(max(1, _ENCODE_PIXELS // self.input_size**2))
        encode, preprocess = self.sam.image_encoder, self.sam.preprocess
        with self._arithmetic(self.encode_type):
            return torch.cat([encode(preprocess(part.to(self.device).float())).float() for part in parts])

    @torch.no_grad()
    def encode_and_describe(self, images: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
        """Encode images by the embedded SAM, and keep what its backbone says of them, which costs nothing more.

        Args:
            images: B square frames of any side, uint8 (S, S, 3), RGB.

        Returns:
            The encodings, float32 (B, R, h, w), and the dense features of the embedded CLIP, float32 (B, 520, h, w).
        """
        encoder = cast(TinyImageEncoder, self.sam.image_encoder)
        encodings, features = [], []
        for part in self.resize(images).split(max(1, _ENCODE_PIXELS // self.input_size**2)):
            encoding, stages = encoder.with_stages(self.sam.preprocess(part.to(self.device).float()))
            encodings.append(encoding)
            features.append(on_one_grid(stages))
        return torch.cat(encodings), torch.cat(features)

    @torch.no_grad()
    def prepare_image(self, encodings: Tensor) -> PreparedImage:
        """Compute what `decode` needs of images.

        Args:
            encodings: float32 (B, R, h, w), from `encode`.

        Returns:
            The B images, in the precision of decoding, for any number of calls of `decode`.
        """
        with self._arithmetic(self.decode_type):
            parts = [self.decoder.prepare_image(part) for part in encodings.split(self.decode_batch)]
        fields = (torch.cat(field).to(self.decode_type) for field in zip(*parts, strict=True))
        return PreparedImage(*fields)

    @torch.no_grad()
    def decode(self, image: PreparedImage, rows: Tensor, points_unit: Tensor, labels: Tensor) -> Tensor:
        """Decode B prompt sets, `decode_batch` at a time (Eq. 2).

        Args:
            image: Any number of images, from `prepare_image`.
            rows: int64 (B,), on the CPU, the image of each prompt set, as an index into `image`.
            points_unit: float (B, N, 2), (x, y) as fractions of the frame's sides, in [0, 1].
            labels: int (B, N), 1 foreground, 0 background, −1 padding.

        Returns:
            Low-resolution logits, float32 (B, 4h, 4w), positive in the mask: SAM's single one, not the best of its
            three. [ours]
        """
        parts = []
        for start in range(0, len(rows), self.decode_batch):
            chosen = slice(start, start + self.decode_batch)
            where = index_on(self.device, rows[chosen])
            selected = PreparedImage(*(field[where] for field in image))
            with self._arithmetic(self.decode_type):
                masks, _ = self._decode(selected, points_unit[chosen] * self.input_size, labels[chosen])
                # A copy: where the decoder is compiled for CUDA, the next call overwrites the answer of this one.
                parts.append(masks[:, 0].to(torch.float32, copy=True))
        return torch.cat(parts)

    def _arithmetic(self, dtype: torch.dtype) -> torch.autocast:
        reduced = dtype != torch.float32
        return torch.autocast(self.device.type, dtype if reduced else None, enabled=reduced)


def decoder_of(sam: Sam) -> BatchedDecoder:
    """Make the batched decoder of a SAM, SAM-HQ or SAM 2.1, at its present weights."""
    make = _DECODERS.get(type(sam.mask_decoder), BatchedDecoder)
    return make(sam.prompt_encoder, sam.mask_decoder)


@torch.random.fork_rng(devices=[])  # building draws initial weights, which would change what its user draws
def load_sam(
    name: str,
    device: str | torch.device = "auto",
    precision: str = "auto",
    decode_precision: str = "float32",
    compile: bool = False,
) -> BatchedSamPredictor:
    """Load a model by its name or path.

    Args:
        name: ``tiny`` for the embedded SAM; one of `CHECKPOINTS` (SAM, MobileSAM, SAM-HQ, SAM 2.1), whose file must
            have been downloaded; the path of a checkpoint of any of these; or ``hf:`` and a folder or repository of the
            Hub with SAM, SAM-HQ or SAM 2.1 in the format of ``transformers``, which is downloaded if need be.
        device: As for `resolve_device`.
        precision: As for `BatchedSamPredictor`.
        decode_precision: As for `BatchedSamPredictor`.
        compile: As for `BatchedSamPredictor`.

    Raises:
        OptionError: The name is neither known nor a path, or the device or a precision cannot be used.
        WeightsError: The file is missing (the message says where to get it) or not what it should be.
    """
    target = resolve_device(device)
    if name == "tiny":
        sam, fingerprint = load_tiny_sam(), file_digest(WEIGHTS)
    elif name.startswith(HF):
        sam, fingerprint = load_hf_sam(name)
    else:
        path = _checkpoint_path(name)
        sam, fingerprint = load_sam_checkpoint(path), remembered_digest(path)
    return BatchedSamPredictor(sam, fingerprint, target, precision, decode_precision, compile)


def _checkpoint_path(name: str) -> Path:
    if name in CHECKPOINTS:
        verify_checkpoint(CHECKPOINTS[name], remembered_digest)
        return CHECKPOINTS[name].path
    path = Path(name).expanduser()
    if path.is_file():
        return path
    if path.suffix or path.name != name:
        hint = f" A folder in the format of transformers is sam={HF}{name}." if path.is_dir() else ""
        raise WeightsError(f"sam={name!r}: there is no checkpoint file {path.absolute()}.{hint}")
    raise OptionError(
        f"sam={name!r} is unknown; choose tiny, {', '.join(CHECKPOINTS)}, the path of a checkpoint, or {HF} and a "
        "folder or repository in the format of transformers."
    )


def _resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    if check_choice("precision", precision, get_args(Precision)) == "auto":
        precision = "bfloat16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "float32"
    dtype: torch.dtype = getattr(torch, precision)
    return dtype


def _compiled(function: Callable[..., Any], mode: str) -> Callable[..., Any]:
    """Return what ``torch.compile`` makes of a function when it is first called.

    The call raises OptionError where nothing can be compiled, most often for want of a compiler of C++.
    """
    from torch._dynamo.exc import BackendCompilerFailed  # takes seconds, as torch.compile does

    run = torch.compile(function, mode=mode)

    @wraps(function)
    def call(*arguments: Any) -> Any:
        try:
            return run(*arguments)
        except BackendCompilerFailed as error:
            raise OptionError(
                f"compile=true: torch.compile fails here ({first_line(error)}). It needs a C++ compiler such as g++: "
                "install one, or take compile=false."
            ) from error

    return call
