"""Other ways to teach a SAM a task from a few labelled images, measured on the same images as the agent.

Each is a module with what its paper publishes, and what this project decides marked [ours].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, get_type_hints

from torch import Tensor

from alignsam_gym.baselines.clip_points import ClipPoints
from alignsam_gym.baselines.msa import MSA
from alignsam_gym.baselines.persam import PerSAM, PerSAMF
from alignsam_gym.baselines.samed import SAMed
from alignsam_gym.baselines.seggpt import SegGPT
from alignsam_gym.errors import OptionError, check_choice, check_count, check_number, check_switch
from alignsam_gym.foundation.encoding.encoded_dataset import EncodedDataset
from alignsam_gym.foundation.sam.predictor import BatchedSamPredictor


class Baseline(Protocol):
    """A method that learns from labelled images at once, and then answers for new ones without an agent."""

    def fit(self, shots: EncodedDataset, seed: int) -> None:
        """Learn, anew, from the labelled images. The same seed gives the same result."""

    def predict(self, samples: EncodedDataset, indices: Sequence[int]) -> Tensor:
        """Logits float (B, h', w') that span the frame, foreground above 0, of the images at B indices."""


BASELINES: dict[str, Any] = {
    "persam": PerSAM,
    "persam_f": PerSAMF,
    "samed": SAMed,
    "msa": MSA,
    "clip_points": ClipPoints,
    "seggpt": SegGPT,
}
"""Name -> constructor, which takes the frozen model and the method's own options (config group ``method``)."""


def make_baseline(model: BatchedSamPredictor, options: Mapping[str, Any]) -> Baseline:
    """The baseline called ``options["name"]``, with its other options. Raises OptionError."""
    arguments = dict(options)
    baseline = BASELINES[check_choice("method", arguments.pop("name"), tuple(BASELINES))]
    _check(baseline, arguments)
    return baseline(model, **arguments)


def _check(baseline: type[Baseline], options: Mapping[str, Any]) -> None:
    """Raise OptionError unless these are what the constructor takes: counts from 1 on, numbers from 0 on, switches."""
    constructors = [vars(kind)["__init__"] for kind in baseline.__mro__ if "__init__" in vars(kind)]
    kinds = {name: kind for one in constructors for name, kind in get_type_hints(one).items()}
    expected = {name: kind for name, kind in kinds.items() if kind in (int, float, bool, str)}
    if wrong := options.keys() ^ expected.keys():
        raise OptionError(f"method.{min(wrong)}: this method takes {', '.join(expected)}, and nothing else.")
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
