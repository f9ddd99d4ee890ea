"""What the baselines that tune SAM's own weights have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from rich.progress import track
from segment_anything.modeling import Sam
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from alignsam_gym.baselines.shuffled_indices import ShuffledIndices
from alignsam_gym.foundation.encoding.encoded_dataset import EncodedDataset
from alignsam_gym.foundation.sam.predictor import BatchedSamPredictor, decoder_of


class TunedSAM(ABC):
    """A SAM that learns to answer without prompts; most of it stays frozen, normalisation included.

    Its answer is that of SAM's single-mask output to no prompt at all. Where the labelled images have several texts, it
    is prompted by a learned token for the image's own, and for a text that none of them has by the mean of these.
    [ours] Images are mirrored with probability ½. [ours]

    steps: of AdamW, with batches of `batch_size` images from shuffled passes over the labelled ones.
    """

    def __init__(
        self, model: BatchedSamPredictor, steps: int, batch_size: int, learning_rate: float, weight_decay: float
    ) -> None:
        self.model, self.sam = model, model.sam
        self.steps, self.batch_size = steps, batch_size
        self.learning_rate, self.weight_decay = learning_rate, weight_decay

    @abstractmethod
    def adapt(self, sam: Sam) -> None:
        """Give a frozen SAM what is to learn, which alone has gradients then."""

    @abstractmethod
    def loss(self, logits: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
        """A scalar, of answers (B, 4h, 4w) and the shares of foreground and labelled pixels in each of their cells."""

    @abstractmethod
    def rate(self, step: int, images: int) -> float:
        """The learning rate at a step, as a share of the configured one. images: how many there are."""

    def fit(self, shots: EncodedDataset, seed: int) -> None:
        samples = shots.fetch(range(len(shots)))
        pixels = self.model.resize(shots.frames(range(len(shots))))
        truth, valid = (torch.stack([getattr(one, name) for one in samples]).cpu() for name in ("truth", "valid"))
        texts = [sample.text for sample in samples]
        shuffled, device = ShuffledIndices(len(shots), seed), self.model.device
        self.sam, self.classes = deepcopy(self.model.sam), sorted(set(texts), key=str)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.adapt(self.sam)
            self.tokens = nn.Embedding(len(self.classes), self.sam.prompt_encoder.embed_dim)
        self.sam.to(device)
        self.tokens.to(device)
        learning = [p for p in (*self.sam.parameters(), *self.tokens.parameters()) if p.requires_grad]
        optimizer = torch.optim.AdamW(learning, self.learning_rate, weight_decay=self.weight_decay)
        schedule = LambdaLR(optimizer, lambda step: self.rate(step, len(shots)))
        for _ in track(range(self.steps), "training"):
            rows = shuffled.draw(self.batch_size)
            mirrored = torch.rand(len(rows), generator=shuffled.generator) < 0.5
            images, target, labelled = (_mirror(part[rows], mirrored).to(device) for part in (pixels, truth, valid))
            loss = self.loss(self.answer(images, [texts[row] for row in rows]), target, labelled)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()

    @torch.no_grad()
    def predict(self, samples: EncodedDataset, indices: Sequence[int]) -> Tensor:
        pixels, texts = self.model.resize(samples.frames(indices)), [sample.text for sample in samples.fetch(indices)]
        parts = [slice(start, start + self.batch_size) for start in range(0, len(texts), self.batch_size)]
        return torch.cat([self.answer(pixels[part].to(self.model.device), texts[part]) for part in parts])

    def answer(self, pixels: Tensor, texts: Sequence[str | None]) -> Tensor:
        """Low-resolution logits (B, 4h, 4w) of images uint8 (B, 3, size, size), from `BatchedSamPredictor.resize`."""
        encodings = self.sam.image_encoder(self.sam.preprocess(pixels.float()))
        decoder = decoder_of(self.sam)  # each time, as the weights change
        return decoder.decode_tokens(decoder.prepare_image(encodings), self.prompts(texts))[0][:, 0]

    def prompts(self, texts: Sequence[str | None]) -> Tensor:
        """Prompt tokens (B, 1, C) that say which class is asked for; (B, 0, C) if there is one class alone."""
        tokens = self.tokens.weight
        if len(tokens) == 1:
            return tokens.new_zeros(len(texts), 0, tokens.shape[1])
        rows = [self.classes.index(text) if text in self.classes else -1 for text in texts]
        return torch.cat([tokens, tokens.mean(0, keepdim=True)])[rows][:, None]


def blocks_with_attention(encoder: nn.Module) -> list[Any]:
    """The transformer blocks of any SAM's image encoder; none of a convolutional one's."""
    return [module for module in encoder.modules() if hasattr(module, "attn") and hasattr(module, "mlp")]


def _mirror(maps: Tensor, mirrored: Tensor) -> Tensor:
    return torch.where(mirrored.view(-1, *[1] * (maps.ndim - 1)), maps.flip(-1), maps)
