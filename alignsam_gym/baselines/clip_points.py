"""CLIP Surgery's own way of prompting SAM by a text (Li et al., arXiv 2304.05653): all points at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from alignsam_gym.errors import DataError
from alignsam_gym.foundation.encoding.encoded_dataset import EncodedDataset
from alignsam_gym.foundation.sam.batched_decoder import PADDING
from alignsam_gym.foundation.sam.predictor import BatchedSamPredictor, decoder_of


class ClipPoints:
    """Needs no labelled image, but the name of what is to be found.

    clip: as `load_clip` takes it. threshold: cells of the map, from 0 to 1, at or above it are positive points.
    down_sample: by which the map is made smaller before, for smoothness.

    multimask: of SAM's three masks it takes the one that SAM predicts to be best, as published; False for SAM's single
    mask, as the embedded SAM was hardly trained for three. [ours]
    """

    def __init__(
        self, model: BatchedSamPredictor, clip: str, threshold: float, down_sample: int, multimask: bool
    ) -> None:
        from alignsam_gym.foundation.clip_surgery import load_clip  # open_clip takes seconds to import

        self.model, self.clip = model, load_clip(clip, model.device)
        self.multimask = multimask
        self.threshold, self.side = threshold, max(1, self.clip.grid // down_sample)

    def fit(self, shots: EncodedDataset, seed: int) -> None:
        """Nothing is learned."""

    @torch.no_grad()
    def predict(self, samples: EncodedDataset, indices: Sequence[int]) -> Tensor:
        fetched, texts = samples.fetch(indices), []
        for index, sample in zip(indices, fetched, strict=True):
            if not sample.text:
                raise DataError(
                    f"{samples.dataset.name} does not say what its masks show, and clip_points needs a text for "
                    f"{samples.dataset.ids[index]}: give one (dataset.text=… of a folder), or choose another method."
                )
            texts.append(sample.text)
        maps = self.clip.similarity(samples.frames(indices), texts)
        points, labels = points_of(maps, self.threshold, self.side)
        decoder = decoder_of(self.model.sam)
        encodings = torch.stack([sample.encoding.float() for sample in fetched])
        logits, scores = decoder.decode(
            decoder.prepare_image(encodings), points * self.model.input_size, labels, self.multimask
        )
        return logits[torch.arange(len(logits)), scores.argmax(1)]


def points_of(maps: Tensor, threshold: float, side: int) -> tuple[Tensor, Tensor]:
    """Points and labels for maps float (B, h, w), made smaller to `side` cells a side.

    Positive are the cells at or above the threshold of the map from 0 to 1, but at most half of all; negative as many
    of the lowest. Returns the cells' centres, (x, y) as fractions of the frame's side, float32 (B, N, 2), and int64
    (B, N), 1, 0 or −1 for padding.
    """
    cells = F.interpolate(maps[:, None], (side, side), mode="bilinear")[:, 0].flatten(1)
    low, high = cells.aminmax(dim=1, keepdim=True)
    # A map that is the same everywhere is 0.
    counts = ((cells - low) / (high - low).clamp_min(1e-12) >= threshold).sum(1).clamp(max=side**2 // 2)
    most = int(counts.max())
    order = cells.argsort(dim=1, stable=True)
    chosen = torch.cat([order[:, len(order[0]) - most :].flip(1), order[:, :most]], dim=1)
    given = torch.arange(most, device=maps.device) < counts[:, None]
    labels = torch.cat([given.long(), torch.zeros_like(given).long()], dim=1)
    labels[~given.repeat(1, 2)] = PADDING
    points = torch.stack([chosen % side, chosen // side], dim=2)
    return (points + 0.5) / side, labels
