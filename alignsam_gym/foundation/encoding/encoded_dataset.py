"""Turns a data set into what an episode needs: encoded images, and the ground truth at the logits' resolution."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from alignsam_gym.data.samples import Dataset, Sample
from alignsam_gym.errors import DataError
from alignsam_gym.foundation.encoding.embedding_store import Store
from alignsam_gym.foundation.sam.predictor import BatchedSamPredictor
from alignsam_gym.transforms import resize_image, resize_map

if TYPE_CHECKING:
    from alignsam_gym.foundation.clip_model import ClipModel

_ENCODE_BATCH = 8


@dataclass(frozen=True)
class EncodedSample:
    """One sample without its image. Tensors are on the model's device.

    Attributes:
        mask: bool (H, W), the foreground at the image's own size. Void pixels are False.
        void: bool (H, W), the pixels without a label, or None if there are none.
        text: What the target is called, or None.
        encoding: float16 (R, h, w), from the model's `encode`. It has the same bits whether it came from disk or not.
            [ours]
        channels: C, the number of the embedding's channels.
        truth: float32 (4h, 4w) in [0, 1], the fraction of foreground among the labelled pixels of each logit's area;
            0 where there are none.
        valid: float32 (4h, 4w) in [0, 1], the fraction of labelled pixels in each logit's area.
        similarity: float32 (h, w) in [0, 1], M_c, CLIP's map of the sample's text; None without a CLIP.
        features: float16 (F, H', W'), the dense features of a CLIP on its own grid; None if they are not asked for.
    """

    mask: np.ndarray
    void: np.ndarray | None
    text: str | None
    encoding: Tensor
    channels: int
    truth: Tensor
    valid: Tensor
    similarity: Tensor | None
    features: Tensor | None = None

    @property
    def embedding(self) -> Tensor:
        """E(x), the encoding's first C channels: float32 (C, h, w)."""
        return self.encoding[: self.channels].float()


class EncodedDataset:
    """The samples of a data set with their encodings, which are made when they are first needed.

    Several threads read images, and `prefetch` reads and encodes in the background.

    Args:
        dataset: The samples.
        model: Encodes the images.
        store: Keeps encodings and CLIP's maps.
        image_size: Side of the square frame that images are resized to before the model resizes them (§4.1), in pixels.
        clip: Draws the map M_c of each sample's text. None for no maps.
        features: The CLIP whose dense features the samples have. None for no features.
        capacity: The number of encoded samples kept in memory. The least recently used are dropped.
    """

    def __init__(
        self,
        dataset: Dataset,
        model: BatchedSamPredictor,
        store: Store,
        image_size: int,
        clip: ClipModel | None = None,
        features: ClipModel | None = None,
        capacity: int = 256,
    ) -> None:
        self.dataset, self.model, self.store, self.clip, self.features = dataset, model, store, clip, features
        self.image_size, self.capacity = image_size, capacity
        encoder = model.sam.image_encoder
        self._together = features is not None and model.encode_type == torch.float32 and features.describes_as(encoder)
        self._in_memory: OrderedDict[int, EncodedSample] = OrderedDict()
        self._prefetched: Future[dict[int, EncodedSample]] | None = None

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> EncodedSample:
        """Return one encoded sample, as `fetch` does."""
        return self.fetch([index])[0]

    def common_text(self) -> str | None:
        """Return what the targets of all samples are called; None if samples differ or have no text."""
        texts = {self[index].text for index in range(len(self))}
        return texts.pop() if len(texts) == 1 else None

    def fetch(self, indices: Sequence[int]) -> list[EncodedSample]:
        """Return encoded samples: from memory, from the store, or newly encoded in batches.

        Args:
            indices: Which samples, in any order; one may occur several times.

        Returns:
            One for each index, in the order of `indices`.

        Raises:
            DataError: An image cannot be read, the data set gives what is no `Sample`, or a sample has no text although
                there is a CLIP.
        """
        if self._prefetched and self._missing(indices):
            prefetched, self._prefetched = self._prefetched, None
            self._in_memory |= prefetched.result()
        self._in_memory |= self._load(self._missing(indices))
        for i in indices:
            self._in_memory.move_to_end(i)
        fetched = [self._in_memory[i] for i in indices]
        while len(self._in_memory) > self.capacity:
            self._in_memory.popitem(last=False)
        return fetched

    def prefetch(self, indices: Sequence[int]) -> None:
        """Start to load samples in the background, for a later `fetch`, which also raises what goes wrong here."""
        missing = self._missing(indices)
        if missing:
            background = ThreadPoolExecutor(1)
            self._prefetched = background.submit(self._load, missing)
            background.shutdown(wait=False)

    def frames(self, indices: Sequence[int]) -> list[np.ndarray]:
        """Read images, resized to the frame, as the model encodes them.

        Args:
            indices: Which samples; each index occurs once.

        Returns:
            One uint8 (image_size, image_size, 3), RGB, for each index.

        Raises:
            DataError: An image cannot be read, or the data set gives what is no `Sample`.
        """
        return [self._frame(sample) for sample in self._read(indices).values()]

    def fill_store(self, indices: Sequence[int]) -> int:
        """Put the encodings and maps of samples into the store, without keeping them in memory.

        Args:
            indices: Which samples.

        Returns:
            How many encodings the store did not have and were made: one for each image, however many samples show it.

        Raises:
            DataError: As from `fetch`.
        """
        samples = self._read(indices)
        described: dict[int, Tensor] = {}
        _, missing = self._encodings(samples, described)
        self._maps(samples)
        self._features(samples, described)
        return missing

    def _missing(self, indices: Sequence[int]) -> list[int]:
        return [i for i in dict.fromkeys(indices) if i not in self._in_memory]

    def _load(self, indices: Sequence[int]) -> dict[int, EncodedSample]:
        loaded: dict[int, EncodedSample] = {}
        for start in range(0, len(indices), _ENCODE_BATCH):
            samples = self._read(indices[start : start + _ENCODE_BATCH])
            described: dict[int, Tensor] = {}
            encodings, _ = self._encodings(samples, described)
            maps, features = self._maps(samples), self._features(samples, described)
            for i, sample in samples.items():
                loaded[i] = self._encoded(sample, encodings[i], maps.get(i), features.get(i))
        return loaded

    def _read(self, indices: Sequence[int]) -> dict[int, Sample]:
        with ThreadPoolExecutor() as pool:  # decoding an image releases Python's lock
            return dict(zip(indices, pool.map(self._sample, indices), strict=True))

    def _sample(self, index: int) -> Sample:
        sample = self.dataset[index]
        if not isinstance(sample, Sample):
            raise DataError(
                f"{self.dataset.name} gives a {type(sample).__name__} for {self.dataset.ids[index]}; it must give an "
                "alignsam_gym.data.Sample(id, image, mask)."
            )
        return sample

    def _encodings(self, samples: Mapping[int, Sample], described: dict[int, Tensor]) -> tuple[dict[int, Tensor], int]:
        """Return the model's encodings, and how many of them the store did not have.

        What the model tells of their dense features on the way is put into `described`.
        """

        def make(missing: list[int]) -> Tensor:
            frames = [self._frame(samples[i]) for i in missing]
            if not self._together:
                return self.model.encode(frames)
            encodings, features = self.model.encode_and_describe(frames)
            described.update(zip(missing, features, strict=True))
            return encodings

        return self._get_or_make({i: self._key(sample, self.model.fingerprint) for i, sample in samples.items()}, make)

    def _maps(self, samples: Mapping[int, Sample]) -> dict[int, Tensor]:
        """Return CLIP's maps on its own grid; none without a CLIP."""
        clip = self.clip
        if clip is None:
            return {}
        texts = {i: self._text(sample) for i, sample in samples.items()}
        keys = {i: self._key(sample, f"{clip.fingerprint}|{texts[i]}") for i, sample in samples.items()}
        maps, _ = self._get_or_make(
            keys,
            lambda missing: clip.similarity([self._frame(samples[i]) for i in missing], [texts[i] for i in missing]),
        )
        return maps

    def _features(self, samples: Mapping[int, Sample], described: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Return a CLIP's dense features; none without one. Those that are `described` need not be made."""
        clip = self.features
        if clip is None:
            return {}
        keys = {i: self._key(sample, f"features|{clip.fingerprint}") for i, sample in samples.items()}

        def make(missing: list[int]) -> Tensor:
            rest = [i for i in missing if i not in described]
            made = clip.dense_features([self._frame(samples[i]) for i in rest]) if rest else ()
            found = {**described, **dict(zip(rest, made, strict=True))}
            return torch.stack([found[i] for i in missing])

        features, _ = self._get_or_make(keys, make)
        return features

    def _get_or_make(
        self, keys: Mapping[int, str], make: Callable[[list[int]], Tensor]
    ) -> tuple[dict[int, Tensor], int]:
        """Get tensors from the store; make the missing ones in one batch and put them there. Count these.

        Samples with one key, such as the categories of an image, share a tensor, which is made of the first of them.
        """
        found = {key: self.store.get(key) for key in dict.fromkeys(keys.values())}
        tensors = {key: tensor for key, tensor in found.items() if tensor is not None}
        missing: dict[str, int] = {}
        for i, key in keys.items():
            if key not in tensors:
                missing.setdefault(key, i)
        if missing:
            for key, tensor in zip(missing, make(list(missing.values())), strict=True):
                tensors[key] = tensor.half()
                self.store.put(key, tensor)
        return {i: tensors[key] for i, key in keys.items()}, len(missing)

    def _on_grid(self, similarity: Tensor) -> Tensor:
        on_device = similarity.to(self.model.device).float()
        return resize_map(on_device, self.model.embedding_shape[1:], antialias=True).clamp(0, 1)

    def _frame(self, sample: Sample) -> np.ndarray:
        return resize_image(sample.image, (self.image_size, self.image_size))

    def _text(self, sample: Sample) -> str:
        if not sample.text:
            raise DataError(
                f"{self.dataset.name} does not say what its masks show, and CLIP needs a text: give it, dataset.text=…"
                " (in Python text, of dataset_kwargs), or take branch=implicit and another label_source."
            )
        return sample.text

    def _encoded(
        self, sample: Sample, encoding: Tensor, similarity: Tensor | None, features: Tensor | None
    ) -> EncodedSample:
        valid = np.ones_like(sample.mask) if sample.void is None else ~sample.void
        mask = sample.mask & valid
        valid_fraction = self._at_logits(valid)
        return EncodedSample(
            mask=mask,
            void=sample.void,
            text=sample.text,
            encoding=encoding.to(self.model.device),
            channels=self.model.embedding_shape[0],
            truth=fraction_of(self._at_logits(mask), valid_fraction),
            valid=valid_fraction,
            similarity=None if similarity is None else self._on_grid(similarity),
            features=None if features is None else features.to(self.model.device),
        )

    def _at_logits(self, mask: np.ndarray) -> Tensor:
        """Compute the fraction of each logit's area that a mask covers: float32 (4h, 4w)."""
        fraction = resize_image(mask.astype(np.float32), self.model.logits_shape)
        return torch.from_numpy(fraction).to(self.model.device)

    def _key(self, sample: Sample, maker: str) -> str:
        what = f"{maker}|{self.image_size}|{sample.image.shape}|".encode()
        return hashlib.sha256(what + np.ascontiguousarray(sample.image).tobytes()).hexdigest()


def fraction_of(part: Tensor, whole: Tensor) -> Tensor:
    """Divide areas `part` by areas `whole`, float tensors of one shape. The fraction is 0 where `whole` is 0."""
    return part / whole.clamp(min=1e-6)
