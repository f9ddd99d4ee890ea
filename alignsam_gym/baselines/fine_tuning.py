"""What the baselines that fine-tune SAM have in common."""

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


class FineTunedSAM(ABC):
    """A SAM that learns to segment without prompts. Most of it stays frozen, normalisation included.

    The mask is SAM's single one for no prompt at all. If the labelled images have several texts, SAM is prompted by a
    learned token for the image's own text; a text that no labelled image has takes the mean of these tokens. [ours]
    Labelled images are mirrored with probability ½. [ours]

    Args:
        model: The frozen SAM, which a copy begins at.
        steps: Number of steps of AdamW.
        batch_size: Number of images in a step. They come from shuffled passes over the labelled ones.
        learning_rate: AdamW's highest learning rate.
        weight_decay: AdamW's weight decay.
    """

    def __init__(
        self, model: BatchedSamPredictor, steps: int, batch_size: int, learning_rate: float, weight_decay: float
    ) -> None:
        self.model, self.sam = model, model.sam
        self.steps, self.batch_size = steps, batch_size
        self.learning_rate, self.weight_decay = learning_rate, weight_decay

    @abstractmethod
    def adapt(self, sam: Sam) -> None:
        """Give a frozen SAM the weights that learn. Only these have gradients afterwards."""

    @abstractmethod
    def loss(self, logits: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
        """Return the loss of a batch, a scalar.

        Args:
            logits: float (B, 4h, 4w).
            truth: float (B, 4h, 4w) in [0, 1], the fraction of foreground in each cell.
            valid: float (B, 4h, 4w) in [0, 1], the fraction of labelled pixels in each cell.
        """

    @abstractmethod
    def learning_rate_factor(self, step: int, images: int) -> float:
        """Return what the learning rate is multiplied by at a step.

        Args:
            step: The step's number, from 0.
            images: The number of labelled images.
        """

    def fit(self, shots: EncodedDataset, seed: int) -> None:
        """Fine-tune a copy of the frozen SAM on the labelled images; see `Baseline.fit`."""
        samples = shots.fetch(range(len(shots)))
        pixels = self.model.resize(shots.frames(range(len(shots))))
        truth = torch.stack([sample.truth for sample in samples]).cpu()
        valid = torch.stack([sample.valid for sample in samples]).cpu()
        texts = [sample.text for sample in samples]
        self._reset(texts, seed)
        trained = [p for p in (*self.sam.parameters(), *self.tokens.parameters()) if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, self.learning_rate, weight_decay=self.weight_decay)
        schedule = LambdaLR(optimizer, lambda step: self.learning_rate_factor(step, len(shots)))
        shuffled = ShuffledIndices(len(shots), seed)
        for _ in track(range(self.steps), "training"):
            rows = shuffled.draw(self.batch_size)
            mirrored = torch.rand(len(rows), generator=shuffled.generator) < 0.5
            batch = [_mirror(part[rows], mirrored).to(self.model.device) for part in (pixels, truth, valid)]
            logits = self.segment(batch[0], [texts[row] for row in rows])
            loss = self.loss(logits, batch[1], batch[2])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()

    def _reset(self, texts: Sequence[str | None], seed: int) -> None:
        """Begin again at the frozen SAM, with new weights where something learns."""
        self.sam, self.classes = deepcopy(self.model.sam), sorted(set(texts), key=str)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.adapt(self.sam)
            self.tokens = nn.Embedding(len(self.classes), self.sam.prompt_encoder.embed_dim)
        self.sam.to(self.model.device)
        self.tokens.to(self.model.device)

    @torch.no_grad()
    def predict(self, samples: EncodedDataset, indices: Sequence[int]) -> Tensor:
        """Return logits, float (B, 4h, 4w), of the images at B indices."""
        pixels = self.model.resize(samples.frames(indices)).split(self.batch_size)
        texts = [sample.text for sample in samples.fetch(indices)]
        logits = []
        for number, batch in enumerate(pixels):
            start = number * self.batch_size
            logits.append(self.segment(batch.to(self.model.device), texts[start : start + self.batch_size]))
        return torch.cat(logits)

    def segment(self, pixels: Tensor, texts: Sequence[str | None]) -> Tensor:
        """Segment images by the SAM that learns.

        Args:
            pixels: uint8 (B, 3, size, size), from `BatchedSamPredictor.resize`.
            texts: What is to be found in each image.

        Returns:
            Logits, float (B, 4h, 4w).
        """
        encodings = self.sam.image_encoder(self.sam.preprocess(pixels.float()))
        decoder = decoder_of(self.sam)  # each time, as the weights change
        logits, _ = decoder.decode_tokens(decoder.prepare_image(encodings), self.prompt_tokens(texts))
        return logits[:, 0]

    def prompt_tokens(self, texts: Sequence[str | None]) -> Tensor:
        """Return the prompt tokens, float (B, 1, C), of B texts; (B, 0, C) if the labelled images have only one."""
        tokens = self.tokens.weight
        if len(tokens) == 1:
            return tokens.new_zeros(len(texts), 0, tokens.shape[1])
        rows = [self.classes.index(text) if text in self.classes else -1 for text in texts]
        return torch.cat([tokens, tokens.mean(0, keepdim=True)])[rows][:, None]


def blocks_with_attention(encoder: nn.Module) -> list[Any]:
    """Return the transformer blocks of any SAM's image encoder; a convolutional one has none."""
    return [module for module in encoder.modules() if hasattr(module, "attn") and hasattr(module, "mlp")]


def _mirror(maps: Tensor, mirrored: Tensor) -> Tensor:
    """Mirror some of B maps (B, …, w) from left to right. mirrored: bool (B,)."""
    return torch.where(mirrored.view(-1, *[1] * (maps.ndim - 1)), maps.flip(-1), maps)
