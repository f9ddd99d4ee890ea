"""The texts of images, for methods that are prompted by them."""

from __future__ import annotations

from collections.abc import Sequence

from alignsam_gym.errors import DataError
from alignsam_gym.foundation.encoding.encoded_dataset import EncodedDataset


def texts_of(samples: EncodedDataset, indices: Sequence[int], method: str) -> list[str]:
    """Return what images' masks show.

    Args:
        samples: The images.
        indices: Which of them.
        method: The name of the method that needs the texts, for the message.

    Raises:
        DataError: If an image has no text.
    """
    texts = [sample.text for sample in samples.fetch(indices)]
    for index, text in zip(indices, texts, strict=True):
        if not text:
            raise DataError(
                f"{samples.dataset.name} does not say what its masks show, and {method} needs a text for "
                f"{samples.dataset.ids[index]}: give one (dataset.text=… of a folder), or choose another method."
            )
    return [text for text in texts if text]
