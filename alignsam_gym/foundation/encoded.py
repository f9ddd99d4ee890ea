"""A data set as the episode needs it: every image encoded once, its truth at every resolution in use."""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from torch import Tensor

from alignsam_gym.data.samples import Dataset, Sample
from alignsam_gym.errors import DataError
from alignsam_gym.foundation.sam import PromptableModel
from alignsam_gym.foundation.store import Store
from alignsam_gym.maps import share_of

if TYPE_CHECKING:
    from alignsam_gym.foundation.clip_surgery import TextMaps

_ENCODE_BATCH = 8
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EncodedSample:
    """One sample without its image; tensors on the model's device.

    mask: bool (H, W), the foreground at the image's own size, void left out. void: bool (H, W), or None.
    text: what the target is called, or None.
    record: float16 (R, h, w), what the model's `encode` gives of the image, whether it came from disk or not.
    scored: float32 (4h, 4w), the labelled pixels' share of each logit's area. truth: the foreground's share of these.
    similarity: float32 (h, w) in [0, 1], M_c: CLIP's map of the sample's text; None without a CLIP.
    """

    mask: np.ndarray
    void: np.ndarray | None
    text: str | None
    record: Tensor
    channels: int
    truth: Tensor
    scored: Tensor
    similarity: Tensor | None

    @property
    def embedding(self) -> Tensor:
        """float32 (C, h, w), E(x): the record's first C channels."""
        return self.record[: self.channels].float()


class EncodedDataset:
    """Samples and their encodings, made when first asked for.

    image_size: side of the frame that images are resized to before the model's own resizing (§4.1).
    clip: draws a map of each sample's text, if given; samples must then have one.
    capacity: encodings kept in memory; the least recently used make room.

    Images are read by several threads, and `prefetch` reads and encodes behind the caller's back.
    """

    def __init__(
        self,
        dataset: Dataset,
        model: PromptableModel,
        store: Store,
        image_size: int,
        clip: TextMaps | None = None,
        capacity: int = 256,
    ) -> None:
        self.dataset, self.model, self.store, self.clip = dataset, model, store, clip
        self.image_size, self.capacity = image_size, capacity
        self._ready: OrderedDict[int, EncodedSample] = OrderedDict()
        self._coming: Future[dict[int, EncodedSample]] | None = None

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> EncodedSample:
        return self.fetch([index])[0]

    def only_text(self) -> str | None:
        """What all samples' targets are called; None if they are called otherwise or not at all."""
        texts = {self[index].text for index in range(len(self))}
        return texts.pop() if len(texts) == 1 else None

    def fetch(self, indices: Sequence[int]) -> list[EncodedSample]:
        """The encoded samples at `indices`, missing ones read from disk or encoded in batches."""
        if self._coming and self._missing(indices):
            coming, self._coming = self._coming, None
            self._ready |= coming.result()
        self._ready |= self._load(self._missing(indices))
        for i in indices:
            self._ready.move_to_end(i)
        fetched = [self._ready[i] for i in indices]
        while len(self._ready) > self.capacity:
            self._ready.popitem(last=False)
        return fetched

    def prefetch(self, indices: Sequence[int]) -> None:
        """Begin to load samples that `fetch` will soon be asked for; it raises what goes wrong."""
        if missing := self._missing(indices):
            background = ThreadPoolExecutor(1)
            self._coming = background.submit(self._load, missing)
            background.shutdown(wait=False)

    def frames(self, indices: Sequence[int]) -> list[np.ndarray]:
        """The images at `indices` as the model is given them to encode: uint8 (S, S, 3), RGB."""
        return [self._frame(sample) for sample in self._read(indices).values()]

    def warm(self, indices: Sequence[int]) -> int:
        """Put the embeddings and maps of samples on disk; returns how many embeddings were missing."""
        samples = self._read(indices)
        self._maps(samples)
        return self._records(samples)[1]

    def _missing(self, indices: Sequence[int]) -> list[int]:
        return [i for i in dict.fromkeys(indices) if i not in self._ready]

    def _load(self, indices: Sequence[int]) -> dict[int, EncodedSample]:
        loaded: dict[int, EncodedSample] = {}
        for start in range(0, len(indices), _ENCODE_BATCH):
            samples = self._read(indices[start : start + _ENCODE_BATCH])
            records, _ = self._records(samples)
            maps = self._maps(samples)
            loaded |= {i: self._encoded(sample, records[i], maps.get(i)) for i, sample in samples.items()}
        return loaded

    def _read(self, indices: Sequence[int]) -> dict[int, Sample]:
        with ThreadPoolExecutor() as pool:  # decoding a picture leaves Python to other threads
            return dict(zip(indices, pool.map(self.dataset.__getitem__, indices), strict=True))

    def _records(self, samples: Mapping[int, Sample]) -> tuple[dict[int, Tensor], int]:
        """What the model encodes, and how many of them were not on disk."""
        keys = {i: self._key(sample, self.model.fingerprint) for i, sample in samples.items()}
        return self._kept(keys, lambda missing: self.model.encode([self._frame(samples[i]) for i in missing]))

    def _maps(self, samples: Mapping[int, Sample]) -> dict[int, Tensor]:
        """CLIP's maps on its own grid; none without a CLIP."""
        clip = self.clip
        if clip is None:
            return {}
        texts = {i: self._text(sample) for i, sample in samples.items()}
        keys = {i: self._key(sample, f"{clip.fingerprint}|{texts[i]}") for i, sample in samples.items()}
        maps, _ = self._kept(
            keys,
            lambda missing: clip.similarity([self._frame(samples[i]) for i in missing], [texts[i] for i in missing]),
        )
        return maps

    def _kept(self, keys: Mapping[int, str], make: Callable[[list[int]], Tensor]) -> tuple[dict[int, Tensor], int]:
        """Records from disk, missing ones made together and kept; and the number of these."""
        found = {i: self.store.get(key) for i, key in keys.items()}
        records = {i: record for i, record in found.items() if record is not None}
        if missing := [i for i in keys if i not in records]:
            for i, record in zip(missing, make(missing), strict=True):
                records[i] = record.half()
                self.store.put(keys[i], record)
        return records, len(missing)

    def _on_grid(self, similarity: Tensor) -> Tensor:
        from alignsam_gym.foundation.clip_surgery import resize_maps  # open_clip takes seconds to import

        return resize_maps(similarity.to(self.model.device).float(), self.model.embedding_shape[1:])

    def _frame(self, sample: Sample) -> np.ndarray:
        return resize(sample.image, (self.image_size, self.image_size))

    def _text(self, sample: Sample) -> str:
        if not sample.text:
            raise DataError(
                f"{self.dataset.name} does not say what its masks show, and CLIP needs a text for {sample.id}: "
                "give one (text=… of a folder), or take branch='implicit' and another label_source."
            )
        return sample.text

    def _encoded(self, sample: Sample, record: Tensor, similarity: Tensor | None) -> EncodedSample:
        scored = np.ones_like(sample.mask) if sample.void is None else ~sample.void
        mask = sample.mask & scored

        def shrink(mask: np.ndarray, shape: tuple[int, ...]) -> Tensor:
            return torch.from_numpy(resize(mask.astype(np.float32), shape[::-1])).to(self.model.device)

        fine = self.model.logits_shape
        labelled = shrink(scored, fine)
        return EncodedSample(
            mask=mask,
            void=sample.void,
            text=sample.text,
            record=record.to(self.model.device),
            channels=self.model.embedding_shape[0],
            truth=share_of(shrink(mask, fine), labelled),
            scored=labelled,
            similarity=None if similarity is None else self._on_grid(similarity),
        )

    def _key(self, sample: Sample, maker: str) -> str:
        what = f"{maker}|{self.image_size}|{sample.image.shape}|".encode()
        return hashlib.sha256(what + np.ascontiguousarray(sample.image).tobytes()).hexdigest()


def resize(image: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """To (width, height): a side that shrinks is averaged, one that grows interpolated."""
    sides = zip(size, image.shape[1::-1], strict=True)
    across, down = (cv2.INTER_AREA if new < old else cv2.INTER_LINEAR for new, old in sides)
    if across != down:  # OpenCV averages neither side if one of them grows
        image = cv2.resize(image, (size[0], image.shape[0]), interpolation=across)
    return cv2.resize(image, size, interpolation=down)
