"""AlignSAM as a Gymnasium environment: learn where to point the Segment Anything Model.

Importing this package registers ``AlignSAM-v0``.
"""

from pathlib import Path

import gymnasium

__version__ = "0.1.0"

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
