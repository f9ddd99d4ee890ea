"""Saving environments, to go on from in mid-episode."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from alignsam_gym.envs.env_config import EnvConfig
from alignsam_gym.envs.episode import Episode
from alignsam_gym.srm import SRM


class ResumableMixin(gym.utils.EzPickle):
    """Gives an environment ``state_dict``, ``load_state_dict``, and copies that go on in mid-episode.

    ``pickle`` and ``copy.deepcopy`` make an environment of the same keywords, and load the state into it.

    Attributes:
        config: The keywords.
        episode: The episodes in progress.
    """

    config: EnvConfig
    episode: Episode
    np_random_seed: int
    _finished: np.ndarray

    @property
    def generators(self) -> list[np.random.Generator]:
        """What draws each row's images and initial prompts; none before the first reset."""
        raise NotImplementedError

    def _seed_generators(self, seed: Any) -> None:
        """Make new generators."""
        raise NotImplementedError

    def _start_run(self, seed: Any) -> None:
        """Begin a run with new generators. Without a seed, what an SRM has learned stays; else it starts over."""
        self._seed_generators(seed)
        keeps_srm = seed is None and self.episode.srm.learned
        self.episode.start_run(None if keeps_srm else int(self.np_random_seed))

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` needs to go on from here: plain values and tensors.

        Raises:
            gymnasium.error.ResetNeeded: Nothing has begun yet.
        """
        if not self.generators:
            raise gym.error.ResetNeeded("Call reset() before state_dict(): there is nothing to go on from.")
        episode = self.episode.state_dict()
        if isinstance(self.config.srm, SRM):  # it belongs to another environment, whose state has it
            del episode["srm"]
        return {
            "episode": episode,
            "seed": int(self.np_random_seed),
            "generators": [generator.bit_generator.state for generator in self.generators],
            "finished": self._finished.tolist(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state_dict` was called, in an environment made with the same keywords.

        Raises:
            DataError: The images are others now.
        """
        self._seed_generators(state["seed"])
        for generator, saved in zip(self.generators, state["generators"], strict=True):
            generator.bit_generator.state = saved
        self._finished = np.array(state["finished"], bool)
        self.episode.load_state_dict(state["episode"])

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"state": self.state_dict() if self.generators else None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if state["state"] is not None:
            self.load_state_dict(state["state"])
