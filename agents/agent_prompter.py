"""A trained policy as a prompting strategy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy

from alignsam_gym.agents.compact_rollouts import STATE
from alignsam_gym.envs.episode import Episode
from alignsam_gym.envs.spaces import observe


class AgentPrompter:
    """Chooses patches by a trained policy.

    What the policy remembers of an episode, if it does, begins anew with the next one.

    Args:
        policy: A trained one.
        deterministic: Choose the likeliest patch; else draw one. A draw depends on the seed, the batch's images and
            the step alone.
        seed: Of the draws.
    """

    def __init__(self, policy: BasePolicy, deterministic: bool, seed: int = 0) -> None:
        self.policy, self.deterministic, self.seed = policy, deterministic, seed
        space = policy.observation_space
        self.observation = "cells" if isinstance(space, spaces.Dict) and STATE in space.spaces else "patches"
        self.memory: tuple[np.ndarray, ...] | None = None

    def __call__(self, episode: Episode) -> np.ndarray:
        """Choose an action for each row."""
        first = (episode.steps == 0).cpu().numpy()
        if first.all():  # there may be other rows than before
            self.memory = None
        with nullcontext() if self.deterministic else self._draws(episode):
            actions, self.memory = self.policy.predict(
                observe(episode, self.observation), self.memory, episode_start=first, deterministic=self.deterministic
            )
        return np.asarray(actions)

    @contextmanager
    def _draws(self, episode: Episode) -> Iterator[None]:
        """Let the policy draw from a generator that is seeded for this step."""
        place = [self.seed, *episode.index.tolist(), *episode.steps.tolist()]
        device = self.policy.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1)[0]))
            yield
