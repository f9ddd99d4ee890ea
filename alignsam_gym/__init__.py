"""AlignSAM as a Gymnasium environment: learn where to point the Segment Anything Model.

Importing this package registers ``AlignSAM-v0``. `AlignSAM`, `AlignSAMEnv` and `AlignSAMVectorEnv` are imported when
they are first asked for, as they bring PyTorch along.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium

from alignsam_gym import errors

if TYPE_CHECKING:
    from alignsam_gym.agents.pretrained import AlignSAM
    from alignsam_gym.envs.alignsam_env import AlignSAMEnv
    from alignsam_gym.envs.alignsam_vector_env import AlignSAMVectorEnv

__all__ = ["AlignSAM", "AlignSAMEnv", "AlignSAMVectorEnv", "errors"]

__version__ = "0.2.0"

if (Path(__file__).parent / "agents").is_file():  # a checkout by a Git that writes links as small files
    raise ImportError(
        f"{Path(__file__).parent} holds links that this checkout has written as files. Clone again with "
        "`git clone -c core.symlinks=true …` (Windows: in developer mode), or install the wheel."
    )

gymnasium.register(
    id="AlignSAM-v0",
    entry_point="alignsam_gym.envs.alignsam_env:AlignSAMEnv",
    vector_entry_point="alignsam_gym.envs.alignsam_vector_env:AlignSAMVectorEnv",
)

_MODULES = {
    "AlignSAM": "alignsam_gym.agents.pretrained",
    "AlignSAMEnv": "alignsam_gym.envs.alignsam_env",
    "AlignSAMVectorEnv": "alignsam_gym.envs.alignsam_vector_env",
}

if not TYPE_CHECKING:  # so that a type checker reports a name that is not there

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
