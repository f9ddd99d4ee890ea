"""Which weights the embedded models had when an agent was trained, so that it is not used with others.

Embedded models are called ``tiny`` in every version of this package, and a version may have new weights for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from alignsam_gym.errors import WeightsError
from alignsam_gym.foundation import tiny
from alignsam_gym.foundation.sam.official_checkpoints import file_digest

EMBEDDED = "embedded"
"""The group of a run's configuration that `embedded_weights` gives."""


def embedded_weights(env: Mapping[str, Any]) -> dict[str, str]:
    """Return the SHA-256, hexadecimal, of the weights of the models that an environment calls ``tiny``.

    Args:
        env: The config group ``env``. A model that is not named is the embedded one.

    Returns:
        By kind, ``sam`` and ``clip``. A kind is left out if its model is another.
    """
    return {kind: digest for kind, digest in _digests().items() if env.get(kind, "tiny") == "tiny"}


def check_embedded_weights(folder: Path, trained: object, env: Mapping[str, Any], needs_clip: bool) -> None:
    """Check that an environment's embedded models are those that an agent was trained with.

    Args:
        folder: Where the agent comes from.
        trained: What `embedded_weights` gave when it was trained; None if the configuration does not say.
        env: The config group ``env``, perhaps with other models than in training.
        needs_clip: Whether the agent looks at a CLIP.

    Raises:
        WeightsError: They are others.
    """
    for kind, digest in embedded_weights(env).items():
        known = trained.get(kind, digest) if isinstance(trained, Mapping) else None
        if known != digest and (kind == "sam" or needs_clip):
            raise WeightsError(
                f"The agent in {folder} was trained with another {kind}=tiny than this version of alignsam-gym has; "
                "use the version that trained it, or train it again."
            )


@cache
def _digests() -> dict[str, str]:
    return {"sam": file_digest(tiny.WEIGHTS), "clip": file_digest(tiny.CLIP_WEIGHTS)}
