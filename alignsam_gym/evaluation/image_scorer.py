"""How an image's answers are scored, whichever method gave them."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from alignsam_gym.errors import DataError
from alignsam_gym.foundation.encoding.encoded_dataset import EncodedSample
from alignsam_gym.metrics import PromptedImage, overlap, score_mask
from alignsam_gym.transforms import mask_from_logits


class ImageScorer:
    """Scores the answers for one image, in the order in which they are given.

    Answers are compared at the image's own size, logits cut at zero. An agent has an answer after each number of
    prompts t = 0 … T; a method that does not prompt step by step has one.

    Attributes:
        mask: The last answer, bool (H, W).
    """

    def __init__(self, name: str, sample: EncodedSample) -> None:
        """Begin without any answer.

        Args:
            name: The image's id.
            sample: The image's ground truth.
        """
        self.name, self.sample = name, sample
        self.mask = np.zeros(sample.mask.shape, bool)
        self._overlaps: list[tuple[int, int]] = []
        self._hits: list[bool] = []
        self._repeats: list[bool] = []

    def add_answer(self, logits: Tensor) -> None:
        """Compare one more answer with the ground truth.

        Args:
            logits: float (h, w), which span the whole image; foreground is above 0.
        """
        self.mask = mask_from_logits(logits, self.sample.mask.shape)
        self._overlaps.append(overlap(self.mask, self.sample.mask, self.sample.void))

    def add_prompt(self, hit: bool, repeated: bool) -> None:
        """Note one more prompt.

        Args:
            hit: Whether it was in the target.
            repeated: Whether its patch had been chosen before.
        """
        self._hits.append(hit)
        self._repeats.append(repeated)

    def finish(self) -> PromptedImage:
        """Return all that was measured; the metrics are those of the last answer.

        Raises:
            DataError: The last answer cannot be measured.
        """
        try:
            scores = score_mask(self.mask, self.sample.mask, self.sample.void)
        except DataError as error:
            raise DataError(f"{self.name}: {error}") from error
        return PromptedImage(
            self.name,
            self.sample.text,
            np.array(self._overlaps),
            np.array(self._hits, bool),
            np.array(self._repeats, bool),
            scores,
        )
