"""A trained policy as a way of prompting."""

from __future__ import annotations

import numpy as np
from stable_baselines3.common.policies import BasePolicy

from alignsam_gym.envs.episode import Episode
from alignsam_gym.envs.spaces import observe


class AgentPrompter:
    """A trained policy as a prompter. What it remembers of an episode, if it does, begins anew with the next."""

    def __init__(self, policy: BasePolicy, deterministic: bool) -> None:
        self.policy, self.deterministic = policy, deterministic
        self.memory: tuple[np.ndarray, ...] | None = None

    def __call__(self, episode: Episode) -> np.ndarray:
        first = (episode.steps == 0).cpu().numpy()
        if first.all():  # there may be other rows than before
            self.memory = None
        actions, self.memory = self.policy.predict(
            observe(episode, "patches"), self.memory, episode_start=first, deterministic=self.deterministic
        )
        return actions
