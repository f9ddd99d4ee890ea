"""A trained policy as a prompting strategy."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from stable_baselines3.common.policies import BasePolicy

from alignsam_gym.agents.compact_rollouts import STATE
from alignsam_gym.envs.episode import Episode
from alignsam_gym.envs.spaces import observe


class AgentPrompter:
    """Chooses patches by a trained policy.

    What the policy remembers of an episode, if it does, begins anew with the next one. It is kept here, not on the
    policy: threads may share a policy, each with a prompter of its own.

    Args:
        policy: A trained one, of `alignsam_gym.agents.algorithms`.
        deterministic: Choose the likeliest patch; else draw one. A draw depends on the seed, the batch's images and
            the step alone.
        seed: Of the draws.
    """

    def __init__(self, policy: BasePolicy, deterministic: bool, seed: int = 0) -> None:
        self.policy: Any = policy  # any of ours has `choose_actions`
        self.deterministic, self.seed = deterministic, seed
        self.memory: Any = None

    @property
    def observation(self) -> str:
        """What the policy observes: ``cells``, ``patches`` or ``evidence``."""
        sees: str = self.policy.features_extractor_class.sees
        return "cells" if sees == STATE else sees

    def __call__(self, episode: Episode) -> np.ndarray:
        """Choose an action for each row."""
        begins = episode.steps == 0
        if begins.all():  # there may be other rows than before
            self.memory = None
        generator = None if self.deterministic else self._generator(episode)
        actions, self.memory = self.policy.choose_actions(
            observe(episode, self.observation), self.memory, begins.to(self.policy.device), generator
        )
        return np.asarray(actions.cpu().numpy())

    def _generator(self, episode: Episode) -> torch.Generator:
        """Make what draws this step's actions."""
        place = [self.seed, *episode.index.tolist(), *episode.steps.tolist()]
        seed = int(np.random.SeedSequence(place).generate_state(1)[0])
        return torch.Generator(self.policy.device).manual_seed(seed)
