"""A promptable model as the environment uses it: encode images, decode batches of prompts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from segment_anything.modeling import Sam
from torch import Tensor

from alignsam_gym.errors import OptionError
from alignsam_gym.foundation.decoder import decode
from alignsam_gym.foundation.tiny import WEIGHTS, load_tiny_sam

PREPROCESSING = 1
"""Version of what `PromptableModel.encode` does to an image; part of every cached embedding's key."""

_CPU_CHUNK = 8  # prompts decoded at once: more fall out of a CPU's cache


class PromptableModel:
    """A frozen SAM, on one device.

    sam: a ``segment_anything`` model. fingerprint: identifies its weights.
    """

    def __init__(self, sam: Sam, fingerprint: str, device: torch.device) -> None:
        self.sam = sam.to(device).eval().requires_grad_(False)
        self.fingerprint = f"{fingerprint}-{PREPROCESSING}"
        self.device = device
        self.input_size = sam.image_encoder.img_size
        height, width = sam.prompt_encoder.image_embedding_size
        self.embedding_shape = (sam.prompt_encoder.embed_dim, height, width)
        self.logits_shape = (4 * height, 4 * width)

    @torch.no_grad()
    def encode(self, images: Sequence[np.ndarray]) -> Tensor:
        """Embed square frames, uint8 (S, S, 3) RGB each: float32 (B, C, h, w).

        Frames are resized to the model's own input size; being square, they are not padded.
        """
        size = (self.input_size, self.input_size)
        resized = [
            cv2.resize(image, size, interpolation=cv2.INTER_AREA if len(image) > self.input_size else cv2.INTER_LINEAR)
            for image in images
        ]
        batch = torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).to(self.device)
        return self.sam.image_encoder(self.sam.preprocess(batch.float())).float()

    @torch.no_grad()
    def decode(self, embeddings: Tensor, points: Tensor, labels: Tensor) -> Tensor:
        """Low-resolution logits (B, 4h, 4w) of B prompt sets, each on its own embedding.

        embeddings: (B, C, h, w). points: float (B, N, 2), (x, y) as fractions of the frame's side.
        labels: int (B, N), 1 foreground, 0 background, −1 padding.
        """
        chunk = _CPU_CHUNK if self.device.type == "cpu" else len(embeddings)
        parts = [
            decode(self.sam.prompt_encoder, self.sam.mask_decoder, e, p * self.input_size, given)[0][:, 0]
            for e, p, given in zip(embeddings.split(chunk), points.split(chunk), labels.split(chunk), strict=True)
        ]
        return torch.cat(parts)


def load_sam(name: str, device: str | torch.device = "auto") -> PromptableModel:
    """The model called `name`; ``tiny`` is the embedded one. ``device="auto"`` takes CUDA if there is any."""
    if name != "tiny":
        raise OptionError(f"sam={name!r} is unknown; choose tiny, the embedded model.")
    return PromptableModel(load_tiny_sam(), file_digest(WEIGHTS), resolve_device(device))


def resolve_device(device: str | torch.device) -> torch.device:
    """`device`, with ``auto`` resolved. Raises OptionError for one that is not here."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        torch.empty(0, device=resolved)
    except (RuntimeError, AssertionError) as error:
        raise OptionError(f"device={str(device)!r} cannot be used here ({str(error).splitlines()[0]}).") from error
    return resolved


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
