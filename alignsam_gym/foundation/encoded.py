"""A data set as the episode needs it: every image encoded once, its truth at every resolution in use."""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from alignsam_gym.data.samples import Dataset, Sample
from alignsam_gym.foundation.sam import PromptableModel
from alignsam_gym.foundation.store import EmbeddingStore

_ENCODE_BATCH = 8
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EncodedSample:
    """One sample without its image; tensors on the model's device.

    mask: bool (H, W), the foreground at the image's own size, void left out. void: bool (H, W), or None.
    embedding: float32 (C, h, w), rounded to float16's precision whether it came from disk or not.
    truth, scored: float32 (4h, 4w), the foreground's and the labelled pixels' share of each logit's area.
    truth_coarse, scored_coarse: float32 (h, w), the same on the embedding's grid (y′ of Eq. 13).
    """

    mask: np.ndarray
    void: np.ndarray | None
    embedding: Tensor
    truth: Tensor
    scored: Tensor
    truth_coarse: Tensor
    scored_coarse: Tensor


class EncodedDataset:
    """Samples and their encodings, made when first asked for.

    image_size: side of the frame that images are resized to before the model's own resizing (§4.1).
    capacity: encodings kept in memory; the least recently used make room.
    """

    def __init__(
        self,
        dataset: Dataset,
        model: PromptableModel,
        store: EmbeddingStore,
        image_size: int,
        capacity: int = 256,
    ) -> None:
        self.dataset, self.model, self.store = dataset, model, store
        self.image_size, self.capacity = image_size, capacity
        self._ready: OrderedDict[int, EncodedSample] = OrderedDict()

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> EncodedSample:
        return self.fetch([index])[0]

    def fetch(self, indices: Sequence[int]) -> list[EncodedSample]:
        """The encoded samples at `indices`, missing ones read from disk or encoded in batches."""
        missing = [i for i in dict.fromkeys(indices) if i not in self._ready]
        for start in range(0, len(missing), _ENCODE_BATCH):
            self._load(missing[start : start + _ENCODE_BATCH])
        for i in indices:
            self._ready.move_to_end(i)
        fetched = [self._ready[i] for i in indices]
        while len(self._ready) > self.capacity:
            self._ready.popitem(last=False)
        return fetched

    def embeddings(self) -> Tensor:
        """All embeddings, float32 (len, C, h, w): what a policy needs that sees images by their index."""
        return torch.stack([sample.embedding for sample in self.fetch(range(len(self)))])

    def _load(self, indices: Sequence[int]) -> None:
        samples = {i: self.dataset[i] for i in indices}
        keys = {i: self._key(sample) for i, sample in samples.items()}
        embeddings = {i: self.store.get(key) for i, key in keys.items()}
        to_encode = [i for i, embedding in embeddings.items() if embedding is None]
        if to_encode:
            size = (self.image_size, self.image_size)
            frames = [_resize(samples[i].image, size) for i in to_encode]
            for i, embedding in zip(to_encode, self.model.encode(frames), strict=True):
                embeddings[i] = embedding.half()
                self.store.put(keys[i], embedding)
        for i in indices:
            embedding = embeddings[i]
            assert embedding is not None
            self._ready[i] = self._encoded(samples[i], embedding)

    def _encoded(self, sample: Sample, embedding: Tensor) -> EncodedSample:
        scored = np.ones_like(sample.mask) if sample.void is None else ~sample.void
        mask = sample.mask & scored

        def shrink(mask: np.ndarray, shape: tuple[int, ...]) -> Tensor:
            area = cv2.resize(mask.astype(np.float32), shape[::-1], interpolation=cv2.INTER_AREA)
            return torch.from_numpy(area).to(self.model.device)

        fine, coarse = self.model.logits_shape, self.model.embedding_shape[1:]
        return EncodedSample(
            mask=mask,
            void=sample.void,
            embedding=embedding.to(self.model.device).float(),
            truth=shrink(mask, fine),
            scored=shrink(scored, fine),
            truth_coarse=shrink(mask, coarse),
            scored_coarse=shrink(scored, coarse),
        )

    def _key(self, sample: Sample) -> str:
        what = f"{self.model.fingerprint}|{self.image_size}|{sample.image.shape}|".encode()
        return hashlib.sha256(what + np.ascontiguousarray(sample.image).tobytes()).hexdigest()


def _resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    shrinks = image.shape[0] > size[1] and image.shape[1] > size[0]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
