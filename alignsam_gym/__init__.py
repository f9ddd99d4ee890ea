"""AlignSAM as a Gymnasium environment: learn where to point the Segment Anything Model.

Importing this package registers ``AlignSAM-v0``.
"""

import gymnasium

__version__ = "0.1.0"

gymnasium.register(
    id="AlignSAM-v0",
    entry_point="alignsam_gym.envs.single:AlignSAMEnv",
    vector_entry_point="alignsam_gym.envs.vector:AlignSAMVectorEnv",
)
