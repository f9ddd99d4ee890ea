"""Other ways to teach a SAM a task from a few labelled images, measured on the same images as the agent.

Each is a module with what its paper publishes, and what this project decides marked [ours].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor

from alignsam_gym.errors import check_choice
from alignsam_gym.foundation.encoded import EncodedDataset
from alignsam_gym.foundation.sam import PromptableModel
from experiments.rivals.clip_points import ClipPoints
from experiments.rivals.msa import MSA
from experiments.rivals.persam import PerSAM, PerSAMF
from experiments.rivals.samed import SAMed
from experiments.rivals.seggpt import SegGPT


class Rival(Protocol):
    """A method that learns from labelled images at once, and then answers for new ones without an agent."""

    def fit(self, shots: EncodedDataset, seed: int) -> None:
        """Learn, anew, from the labelled images. The same seed gives the same result."""

    def predict(self, samples: EncodedDataset, indices: Sequence[int]) -> Tensor:
        """Logits float (B, h', w') that span the frame, foreground above 0, of the images at B indices."""


RIVALS: dict[str, Callable[..., Rival]] = {
    "persam": PerSAM,
    "persam_f": PerSAMF,
    "samed": SAMed,
    "msa": MSA,
    "clip_points": ClipPoints,
    "seggpt": SegGPT,
}
"""Name -> constructor, which takes the frozen model and the method's own options (config group ``method``)."""


def make_rival(model: PromptableModel, options: Mapping[str, Any]) -> Rival:
    """The rival called ``options["name"]``, with its other options. Raises OptionError."""
    arguments = dict(options)
    return RIVALS[check_choice("method", arguments.pop("name"), tuple(RIVALS))](model, **arguments)
