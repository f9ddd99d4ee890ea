"""Published methods that learn a task from a few labelled images or from a text, to compare the agent with.

Each has a module, which follows its paper. What this project decides otherwise is marked [ours].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, get_type_hints

from torch import Tensor

from alignsam_gym.baselines.clip_points import ClipPoints
from alignsam_gym.baselines.msa import MSA
from alignsam_gym.baselines.persam import PerSAM, PerSAMF
from alignsam_gym.baselines.sam3 import SAM3
from alignsam_gym.baselines.samed import SAMed
from alignsam_gym.baselines.seggpt import SegGPT
from alignsam_gym.errors import OptionError, check_choice, check_count, check_number, check_switch, did_you_mean
from alignsam_gym.foundation.encoding.encoded_dataset import EncodedDataset
from alignsam_gym.foundation.sam.predictor import BatchedSamPredictor


class Baseline(Protocol):
    """A method that learns from all labelled images at once, and then segments new ones without an agent."""

    def fit(self, shots: EncodedDataset, seed: int) -> None:
        """Learn from the labelled images, and forget what was learned before.

        Args:
            shots: The labelled images.
            seed: The same seed gives the same result.
        """

    def predict(self, samples: EncodedDataset, indices: Sequence[int]) -> Tensor:
        """Segment images.

        Args:
            samples: The images.
            indices: Which B of them.

        Returns:
            Logits, float (B, h', w'), that span the whole frame. They are above 0 in the foreground.
        """


BASELINES: dict[str, Any] = {
    "persam": PerSAM,
    "persam_f": PerSAMF,
    "samed": SAMed,
    "msa": MSA,
    "clip_points": ClipPoints,
    "seggpt": SegGPT,
    "sam3": SAM3,
}
"""Constructors by name. Each takes the frozen SAM and the method's own options (config group ``method``)."""


def make_baseline(model: BatchedSamPredictor, options: Mapping[str, Any]) -> Baseline:
    """Make a baseline.

    Args:
        model: The frozen SAM.
        options: The baseline's name, a key of `BASELINES`, under ``name``, and all of its options.

    Returns:
        A baseline that has learned nothing yet.

    Raises:
        OptionError: If the name is unknown, an option is missing or unknown, or a value makes no sense.
    """
    arguments = dict(options)
    constructor = BASELINES[check_choice("method", arguments.pop("name"), tuple(BASELINES))]
    _check_options(constructor, arguments)
    baseline: Baseline = constructor(model, **arguments)
    return baseline


def _check_options(constructor: type[Baseline], options: Mapping[str, Any]) -> None:
    """Raise `OptionError` unless all options are given and of their types, counts 1 or more, numbers 0 or more."""
    types = get_type_hints(constructor.__init__)
    expected = {name: kind for name, kind in types.items() if kind in (int, float, bool, str)}
    if wrong := options.keys() ^ expected.keys():
        name = min(wrong)
        hint = did_you_mean(name, expected) if name in options else ""
        raise OptionError(f"method.{name}: this method takes {', '.join(expected)}, and nothing else.{hint}")
    for name, value in options.items():
        key = f"method.{name}"
        if expected[name] is int:
            check_count(key, value, "it must be at least 1")
        elif expected[name] is float:
            check_number(key, value)
            if value < 0:
                raise OptionError(f"{key}={value}: it must be 0 or more.")
        elif expected[name] is bool:
            check_switch(key, value)
        elif not isinstance(value, str):
            raise OptionError(f"{key}={value!r}: this method needs a name or a path here; give {key}=….")
