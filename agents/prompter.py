"""A trained policy as a way of prompting."""

from __future__ import annotations

import numpy as np

from agents.policies import PromptPolicy
from alignsam_gym.envs.episode import Episode
from alignsam_gym.envs.spaces import observe


class AgentPrompter:
    """A trained policy as a prompter."""

    def __init__(self, policy: PromptPolicy, deterministic: bool) -> None:
        self.policy, self.deterministic = policy, deterministic

    def __call__(self, episode: Episode) -> np.ndarray:
        actions, _ = self.policy.predict(observe(episode, "patches"), deterministic=self.deterministic)
        return actions
