"""Models of ``transformers``, loaded from the disk alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from safetensors import SafetensorError

from alignsam_gym.errors import WeightsError, first_line


def load_network(kind: Any, checkpoint: str, title: str, advice: str) -> Any:
    """Load a network, whose weights must be whole and in safetensors files, in which no code can be.

    Args:
        kind: Its class.
        checkpoint: A folder with a checkpoint, or the name of one in Hugging Face's cache.
        title: What it is called.
        advice: How to get the weights.

    Raises:
        WeightsError: It cannot be loaded, or lacks tensors.
    """
    with loading_errors(checkpoint, title, advice):
        network, loading = kind.from_pretrained(
            checkpoint, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    if missing := sorted(loading["missing_keys"]):  # which transformers would draw at random
        raise WeightsError(
            f"method.checkpoint={checkpoint!r} is no {title}: tensors are missing, such as {missing[0]}."
        )
    return network


@contextmanager
def loading_errors(checkpoint: str, title: str, advice: str) -> Iterator[None]:
    """Raise what goes wrong with a checkpoint as `WeightsError`; see `load_network`."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError, ValueError) as error:
        raise WeightsError(
            f"method.checkpoint={checkpoint!r} is neither a folder with a {title} nor in Hugging Face's cache "
            f"({first_line(error)}). {advice}"
        ) from error
