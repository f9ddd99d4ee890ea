"""The semantic recalibration module (§3.3): which label a chosen point gets."""

from alignsam_gym.srm.branches import BRANCHES
from alignsam_gym.srm.semantic_recalibration import SRM
from alignsam_gym.srm.srm_config import SRMConfig

__all__ = ["BRANCHES", "SRM", "SRMConfig"]
