"""Saving environments, to go on from in mid-episode."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from alignsam_gym.envs.episode import Episode


class ResumableMixin(gym.utils.EzPickle):
    """Gives an environment ``state_dict``, ``load_state_dict``, and copies that go on in mid-episode.

    ``pickle`` and ``copy.deepcopy`` make an environment of the same keywords, and load the state into it.

    Attributes:
        episode: The episodes in progress.
    """

    episode: Episode
    _finished: np.ndarray

    @property
    def generators(self) -> list[np.random.Generator]:
        """What draws each row's images and initial prompts; none before the first reset."""
        raise NotImplementedError

    def _start_run(self, seed: Any) -> None:
        """Make new generators, and begin a run of the episodes."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` needs to go on from here: plain values and tensors.

        Raises:
            gymnasium.error.ResetNeeded: Nothing has begun yet.
        """
        if not self.generators:
            raise gym.error.ResetNeeded("Call reset() before state_dict(): there is nothing to go on from.")
        return {
            "episode": self.episode.state_dict(),
            "generators": [generator.bit_generator.state for generator in self.generators],
            "finished": self._finished.tolist(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state_dict` was called, in an environment made with the same keywords.

        Raises:
            DataError: The images are others now.
        """
        self._start_run(0)
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
