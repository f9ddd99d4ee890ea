"""CLIP Surgery's own prompting of SAM by a text (Li et al., arXiv 2304.05653): all points at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from alignsam_gym.baselines.sample_texts import texts_of
from alignsam_gym.foundation.clip_loading import load_clip
from alignsam_gym.foundation.encoding.encoded_dataset import EncodedDataset
from alignsam_gym.foundation.sam.batched_decoder import PADDING
from alignsam_gym.foundation.sam.predictor import BatchedSamPredictor, decoder_of


class ClipPoints:
    """Points from CLIP's map of the target's text. It needs no labelled image, but every image needs a text.

    Args:
        model: The frozen SAM.
        clip: Which CLIP, as `load_clip` takes it.
        threshold: Cells of the map, scaled to [0, 1], are positive points at or above this.
        down_sample: How many times smaller the map is made first, for smoothness.
        multimask: Whether to take the one of SAM's three masks that SAM scores highest, as published. False takes SAM's
            single mask, for a SAM that was not trained for three. [ours]
    """

    def __init__(
        self, model: BatchedSamPredictor, clip: str, threshold: float, down_sample: int, multimask: bool
    ) -> None:
        self.model, self.clip = model, load_clip(clip, model.device)
        self.threshold, self.multimask = threshold, multimask
        self.side = max(1, self.clip.grid // down_sample)

    def fit(self, shots: EncodedDataset, seed: int) -> None:
        """Do nothing: this method does not learn."""

    @torch.no_grad()
    def predict(self, samples: EncodedDataset, indices: Sequence[int]) -> Tensor:
        """Return SAM's logits, float (B, 4h, 4w), of B images.

        Raises:
            DataError: If an image has no text.
        """
        fetched = samples.fetch(indices)
        texts = texts_of(samples, indices, "clip_points")
        maps = self.clip.similarity(samples.frames(indices), texts)
        points_unit, labels = points_of(maps, self.threshold, self.side)
        decoder = decoder_of(self.model.sam)
        image = decoder.prepare_image(torch.stack([sample.encoding.float() for sample in fetched]))
        logits, scores = decoder.decode(image, points_unit * self.model.input_size, labels, self.multimask)
        return logits[torch.arange(len(logits)), scores.argmax(1)]


def points_of(maps: Tensor, threshold: float, side: int) -> tuple[Tensor, Tensor]:
    """Choose the points of CLIP's maps.

    Positive are the cells at or above the threshold, but at most half of all cells. As many of the lowest cells are
    negative.

    Args:
        maps: float (B, h, w), CLIP's maps.
        threshold: As a fraction of the way from a map's lowest value to its highest.
        side: Number of cells along each side that the maps are resized to first.

    Returns:
        Points, float32 (B, N, 2), and labels, int64 (B, N). A point is the centre (x, y) of a cell, as fractions of the
        frame's side. A label is 1 or 0, or −1 for a point that only fills the row.
    """
    cells = F.interpolate(maps[:, None], (side, side), mode="bilinear")[:, 0].flatten(1)
    lowest, highest = cells.aminmax(dim=1, keepdim=True)
    scaled = (cells - lowest) / (highest - lowest).clamp_min(1e-12)  # 0 everywhere in a map of one value
    counts = (scaled >= threshold).sum(1).clamp(max=side**2 // 2)
    most = int(counts.max())
    order = cells.argsort(dim=1, stable=True)
    highest_cells, lowest_cells = order[:, side**2 - most :].flip(1), order[:, :most]
    chosen = torch.cat([highest_cells, lowest_cells], dim=1)
    is_given = torch.arange(most, device=maps.device) < counts[:, None]
    labels = torch.cat([is_given.long(), torch.zeros_like(is_given).long()], dim=1)
    labels[~is_given.repeat(1, 2)] = PADDING
    points = torch.stack([chosen % side, chosen // side], dim=2)
    return (points + 0.5) / side, labels
