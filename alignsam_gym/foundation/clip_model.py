"""What any CLIP does here: it finds where in an image a text is, without training.

The features of a text are a mean over prompts. From the answers of an image's cells to a text those to the empty text
are subtracted, because they show what all texts have in common (Li et al., arXiv 2304.05653).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alignsam_gym.errors import OptionError

PREPROCESSING = 3
"""The version of what a `ClipModel` does to an image and a text. It is part of every cached map's key."""

_MOST_TEXTS = 1024  # features of so many texts are kept, some kilobytes each; a demo's visitors give ever new texts


class ClipModel(ABC):
    """A frozen CLIP on one device that finds where a text is in an image. A subclass says how it encodes images.

    Args:
        model: What has `encode_text`. It is moved to `device` and frozen.
        tokenizer: The model's own, from n texts to int (n, L).
        fingerprint: Identifies the weights. It is part of every cached map's key.
        device: Where the model runs.
        input_size: Side to which frames are resized, in pixels.
        grid: Side of the maps, in cells.
        channels: Channels of the dense features.

    Attributes:
        model: The model itself.
        tokenizer: As given.
        device: As given.
        fingerprint: The given one, with the version and the size of the preprocessing.
        input_size: As given.
        grid: As given.
        channels: As given.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Callable[[list[str]], Tensor],
        fingerprint: str,
        device: torch.device,
        input_size: int,
        grid: int,
        channels: int,
    ) -> None:
        self.model = model.to(device).eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.device = device
        self.input_size, self.grid, self.channels = input_size, grid, channels
        self.fingerprint = f"{fingerprint}-{PREPROCESSING}-{input_size}"
        self._remember_texts()

    def _remember_texts(self) -> None:
        self._remembered = lru_cache(_MOST_TEXTS)(self._encode_text)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_remembered"}  # it cannot be pickled

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._remember_texts()

    def similarity(self, images: Sequence[np.ndarray], texts: Sequence[str]) -> Tensor:
        """Find where each image's own text is.

        Args:
            images: B square frames of any side, uint8 (S, S, 3), RGB.
            texts: B texts, one for each image.

        Returns:
            float32 (B, grid, grid) in [0, 1]; each map's lowest cell is 0 and its highest is 1.

        Raises:
            OptionError: There are not as many texts as images.
        """
        if len(images) != len(texts):
            raise OptionError(f"{len(images)} images came with {len(texts)} texts; give one text for each image.")
        answers = single_text_surgery(self.encode(images), self.encode_texts(texts), self.encode_texts([""])[0])
        return self._to_map(self._evidence(answers[:, 1:]))

    @abstractmethod
    def encode(self, images: Sequence[np.ndarray]) -> Tensor:
        """Encode images.

        Args:
            images: B square frames of any side, uint8 (S, S, 3), RGB.

        Returns:
            Features, float32 (B, 1 + grid², D): the whole image's, then those of its cells, row by row.
        """

    @torch.no_grad()
    def dense_features(self, images: Sequence[np.ndarray]) -> Tensor:
        """Describe what is in each cell of images, for the SRM (``srm.features``).

        Args:
            images: B square frames of any side, uint8 (S, S, 3), RGB.

        Returns:
            float32 (B, channels, grid, grid).
        """
        return self.dense_from_pixels(self._resize(images))

    @abstractmethod
    def dense_from_pixels(self, pixels: Tensor) -> Tensor:
        """Describe cells as `dense_features` does, of pixels from `resize`."""

    def frame_side(self, image_size: int) -> int:
        """Return the side of the frames that `resize` is given for frames of `image_size` pixels a side."""
        return image_size

    def describes_as(self, encoder: nn.Module) -> bool:
        """Tell whether an image encoder computes these dense features on its way; only the embedded SAM's does."""
        return False

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Encode texts. The features of the latest texts are kept.

        Args:
            texts: K texts, each of which is put into all `prompt_templates`.

        Returns:
            The means over the templates, brought to unit length: float32 (K, D).
        """
        return torch.stack([self._remembered(text) for text in texts])

    def _encode_text(self, text: str) -> Tensor:
        prompts = self.tokenizer([template(text) for template in prompt_templates()]).to(self.device)
        return F.normalize(self.model.encode_text(prompts, normalize=True).mean(dim=0), dim=-1)

    def resize(self, frames: Tensor) -> Tensor:
        """Resize frames, uint8 (B, S, S, 3): float32 (B, 3, input_size, input_size) in [0, 255]."""
        size = (self.input_size, self.input_size)
        resized = F.interpolate(frames.permute(0, 3, 1, 2).float(), size, mode="bicubic", antialias=True)
        return resized.round().clamp(0, 255)

    def _resize(self, images: Sequence[np.ndarray]) -> Tensor:
        return torch.cat([self.resize(torch.from_numpy(image.copy())[None]) for image in images]).to(self.device)

    def _evidence(self, answers: Tensor) -> Tensor:
        """Turn answers, float (B, grid²), into what a map shows of them."""
        return answers

    def _to_map(self, answers: Tensor) -> Tensor:
        """Scale each map from lowest to highest cell, to [0, 1], and shape it: (…, grid²) → (…, grid, grid)."""
        low, high = answers.aminmax(dim=-1, keepdim=True)
        spread = (high - low).clamp_min(torch.finfo(answers.dtype).tiny)
        maps: Tensor = ((answers - low) / spread).unflatten(-1, (self.grid, self.grid))
        return maps


@cache
def prompt_templates() -> tuple[Callable[[str], str], ...]:
    """Return CLIP Surgery's 85 prompts: CLIP's 80 for ImageNet, and 5 that mention a scene."""
    from open_clip import OPENAI_IMAGENET_TEMPLATES  # takes seconds, and only texts need it

    return (
        *OPENAI_IMAGENET_TEMPLATES,
        lambda text: f"there is a {text} in the scene.",
        lambda text: f"there is the {text} in the scene.",
        lambda text: f"this is a {text} in the scene.",
        lambda text: f"this is the {text} in the scene.",
        lambda text: f"this is one {text} in the scene.",
    )


def single_text_surgery(image_features: Tensor, text_features: Tensor, redundant_features: Tensor) -> Tensor:
    """Subtract each cell's answer to the empty text from its answer to its image's text.

    Args:
        image_features: float (B, N, D), from `ClipModel.encode`.
        text_features: float (B, D), one text for each image, of unit length.
        redundant_features: float (D,), the empty text's.

    Returns:
        Differences of the products, float (B, N).
    """
    return torch.einsum("bnd,bd->bn", image_features, text_features - redundant_features)
