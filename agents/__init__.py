"""Stable-Baselines3 agents for `AlignSAM-v0`.

`AlignSAM` is a trained one, for images that have no masks. It is imported when asked for, as it brings PyTorch along.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alignsam_gym.agents.pretrained import AlignSAM, Prediction

__all__ = ["AlignSAM", "Prediction"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from alignsam_gym.agents import pretrained

    return getattr(pretrained, name)
