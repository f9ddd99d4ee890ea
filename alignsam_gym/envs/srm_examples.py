"""What the semantic recalibration module sees of an image, and what it is to draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from alignsam_gym.foundation.encoding.encoded_dataset import EncodedSample, fraction_of
from alignsam_gym.transforms import resize_map


def semantics_of(sample: EncodedSample, embedding: Tensor, features: str) -> Tensor:
    """Collect what the SRM sees of an image in the place of E(x), float32 (F, g, g).

    Args:
        sample: The image.
        embedding: float32 (C, g, g), E(x) on the SRM's grid.
        features: As `SRMConfig.features`.
    """
    if sample.features is None:
        return embedding
    return join_features(embedding, resize_map(sample.features.float(), embedding.shape[1:]), features)


def join_features(embedding: Tensor, described: Tensor, features: str) -> Tensor:
    """Take a CLIP's dense features, float (…, F, g, g), alone or after E(x), float (…, C, g, g).

    Args:
        embedding: E(x).
        described: The features.
        features: As `SRMConfig.features`, ``clip`` or ``both``.
    """
    return described if features == "clip" else torch.cat([embedding, described], dim=-3)


def coarse_labels(samples: Sequence[EncodedSample], cells: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Bring the ground truth of B images to the SRM's grid, y′ of Eq. 13.

    Args:
        samples: The images.
        cells: (g, g), the size of the grid.

    Returns:
        The foreground's fraction of each cell's labelled pixels, and the labelled fraction: float32 (B, g, g) each.
    """
    truth, valid = (torch.stack([getattr(each, name) for each in samples]) for name in ("truth", "valid"))
    coarse = resize_map(valid, cells)
    return fraction_of(resize_map(truth * valid, cells), coarse), coarse


def coarse_similarity(samples: Sequence[EncodedSample], cells: tuple[int, ...]) -> Tensor:
    """Bring CLIP's maps M_c of B images to the SRM's grid, float32 (B, g, g) in [0, 1]."""
    return resize_map(torch.stack([cast(Tensor, sample.similarity) for sample in samples]), cells)
