"""The whole state of Eq. 4, cell by cell, as an agent sees it, and the little that it can be formed anew from."""

from __future__ import annotations

import torch
from torch import Tensor

from alignsam_gym.envs.episode import Episode
from alignsam_gym.state import make_state
from alignsam_gym.transforms import resize_map


def cell_maps(episode: Episode) -> Tensor:
    """Return what the current states are made of besides E(x): M, and the SRM's map in a guided state.

    Returns:
        float16 (B, K, g, g) in [0, 1], K = 1 or 2.
    """
    maps = [episode.mask]
    if episode.rules.state == "guided":
        maps.append(episode.srm_logits.sigmoid())
    return torch.stack(maps, dim=1).half()


def form_cell_states(kind: str, embeddings: Tensor, maps: Tensor) -> Tensor:
    """Form states from `cell_maps`.

    Args:
        kind: A `StateKind`.
        embeddings: float32 (B, C, g, g), E(x).
        maps: float16 (B, K, g, g).

    Returns:
        float16 (B, channels, g, g).
    """
    wide = maps.to(embeddings)
    return make_state(kind, embeddings, wide[:, 0], wide[:, -1]).formed().half()


def form_kept_states(episode: Episode, indices: Tensor, maps: Tensor) -> Tensor:
    """Form states that were seen earlier, of any images that the episode plays on.

    Args:
        episode: It has the images' embeddings.
        indices: int64 (n,), the image of each state.
        maps: float16 (n, K, g, g), from `cell_maps`.

    Returns:
        float16 (n, channels, g, g), bit by bit what was seen.
    """
    images, rows = indices.unique(return_inverse=True)
    cells = episode.mask.shape[1:]
    samples = episode.encoded.fetch(images.tolist())
    embeddings = torch.stack([resize_map(sample.embedding, cells) for sample in samples])
    return form_cell_states(episode.rules.state, embeddings[rows], maps)
