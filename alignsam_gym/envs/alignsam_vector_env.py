"""`AlignSAM-v0`, many episodes at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, iterate

from alignsam_gym.envs.env_config import EnvConfig, VectorEnvConfig
from alignsam_gym.envs.episode_factory import make_episode
from alignsam_gym.envs.rendering import RENDER_FPS, RENDER_MODES, close_window, render_row, show
from alignsam_gym.envs.resumable import ResumableMixin
from alignsam_gym.envs.spaces import (
    action_space,
    observation_space,
    observe,
    outcome_of,
    reset_options,
    whole_numbers,
)
from alignsam_gym.errors import OptionError
from alignsam_gym.options import options_table, takes_options_of
from alignsam_gym.srm import SRM


class AlignSAMVectorEnv(ResumableMixin, VectorEnv[Any, Any, Any]):
    """`num_envs` episodes that share one SAM, one SRM and one decode a step.

    Make it by ``gym.make_vec("AlignSAM-v0", num_envs=16, vectorization_mode="vector_entry_point")``. Row i, seeded
    with ``seed + i``, draws the images, and the initial prompts that come from the ground truth, as the single
    `AlignSAMEnv` does with that seed. Where no SRM is asked, or one that does not learn, it plays alike to the end.
    An SRM that learns begins from row 0's seed and is taught by all rows: what depends on it differs from a single
    environment's. These keywords come to those of `AlignSAMEnv`:

    <options>

    ``reset(options={"index": …})`` takes one index for all rows, or one for each. ``options["reset_mask"]``, bool
    (num_envs,), restarts only some rows.
    """

    @takes_options_of(VectorEnvConfig)
    def __init__(self, **options: Any) -> None:
        gym.utils.EzPickle.__init__(self, **options)
        self.config = VectorEnvConfig.of(options)
        self.render_mode = self.config.render_mode
        self.num_envs = num_envs = self.config.num_envs
        self.autoreset_mode = self.config.mode
        self.metadata = {
            "render_modes": RENDER_MODES,
            "render_fps": RENDER_FPS,
            "autoreset_mode": self.autoreset_mode,
        }
        self.episode = make_episode(self.config, num_envs)
        self.single_observation_space = observation_space(self.episode, self.config.observation)
        self.single_action_space = action_space(self.episode)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._generators: list[np.random.Generator] = []
        self._finished = np.zeros(num_envs, bool)

    @property
    def generators(self) -> list[np.random.Generator]:
        return self._generators

    @property
    def srm(self) -> SRM:
        """The semantic recalibration module that labels the points of all rows."""
        return self.episode.srm

    def reset(
        self, *, seed: int | Sequence[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin new episodes. A seed also begins a new run: an SRM that learns starts over from it.

        Args:
            seed: Seed of row 0, where row i takes `seed` + i; or one for each row.
            options: ``index`` and ``reset_mask``, as the class describes them.

        Returns:
            Observations and infos of all rows.

        Raises:
            OptionError: There is no such option, row or sample.
            DataError: A sample cannot be loaded.
        """
        options = reset_options(options, ["index", "reset_mask"])
        rows = np.ones(self.num_envs, bool)
        if "reset_mask" in options:
            rows = np.asarray(options["reset_mask"], bool)
            if rows.shape != (self.num_envs,):
                raise OptionError(f"reset_mask has shape {rows.shape}; it needs ({self.num_envs},).")
            if not rows.any() or (not self._generators and not rows.all()):
                raise OptionError(f"reset_mask={rows.tolist()}: at least one row, and at first all, must be reset.")
        if not self._generators or (seed is not None and rows.all()):
            self._start_run(seed)
        elif seed is not None:
            self._reseed(seed, rows)
        indices = None
        if options.get("index") is not None:
            chosen = whole_numbers("index", options["index"], (), (self.num_envs,))
            indices = np.broadcast_to(chosen, self.num_envs)[rows].tolist()
        self._begin(rows, indices)
        if self.render_mode == "human":
            self.render()
        observation, _, infos = outcome_of(self.episode, self.config.observation)
        return observation, _about(rows, infos)

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Prompt each row once. With ``NextStep``, a row that has ended begins anew instead.

        Args:
            actions: int (num_envs,).

        Returns:
            Observations, rewards float64 (num_envs,), terminations, truncations (both bool (num_envs,)), infos.

        Raises:
            OptionError: The actions are not in the space.
            gymnasium.error.ResetNeeded: A row has no episode in progress, and does not begin one by itself.
        """
        self._need_reset_before("step")
        if self.autoreset_mode == AutoresetMode.DISABLED and self._finished.any():
            raise gym.error.ResetNeeded("Some episodes have ended: reset(options={'reset_mask': …}) them first.")
        chosen = whole_numbers("actions", actions, (self.num_envs,))
        if not self.action_space.contains(chosen):
            raise OptionError(f"Actions {actions!r} are not in {self.action_space}.")
        restarting = self._finished.copy()
        acting = np.flatnonzero(~restarting)
        if len(acting):
            self.episode.step(acting.tolist(), chosen[acting])
        if restarting.any():
            self._begin(restarting)
        terminations, truncations = self.episode.terminated(), self.episode.truncated()
        ended = terminations | truncations
        self._finished = ended
        observation, rewards, infos = outcome_of(self.episode, self.config.observation)
        rewards[restarting] = 0.0
        final: dict[str, Any] = {}
        if self.autoreset_mode == AutoresetMode.SAME_STEP and ended.any():
            final = self._final(ended, observation, infos)
            self._begin(ended)
            observation, _, infos = outcome_of(self.episode, self.config.observation)
        if self.render_mode == "human":
            self.render()
        return observation, rewards, terminations, truncations, _about(np.ones(self.num_envs, bool), infos) | final

    def observe(self) -> Any:
        """Return the current observation of every row, as `reset` and `step` do.

        Raises:
            gymnasium.error.ResetNeeded: Nothing has begun yet.
        """
        self._need_reset_before("observe")
        return observe(self.episode, self.config.observation)

    def action_masks(self) -> np.ndarray:
        """Return the actions that the `revisit` rule leaves, bool (num_envs, actions)."""
        return self.episode.allowed()

    def render(self) -> tuple[np.ndarray, ...] | None:
        """Draw each row as `AlignSAMEnv.render` does.

        In ``human`` mode the first row appears in a window, and None is returned.

        Raises:
            gymnasium.error.ResetNeeded: Nothing has begun yet.
        """
        self._need_reset_before("render")
        if self.render_mode is None:
            gym.logger.warn("render() was called without a render_mode; pass one to gym.make_vec.")
            return None
        if self.render_mode == "human":
            show(render_row(self.episode, 0))
            return None
        return tuple(render_row(self.episode, row) for row in range(self.num_envs))

    def _need_reset_before(self, method: str) -> None:
        if not self._generators:
            raise gym.error.ResetNeeded(f"Call reset() before {method}().")

    def close_extras(self, **kwargs: Any) -> None:
        """Close the window, if there is one."""
        if self.render_mode == "human":
            close_window()

    def _seed_generators(self, seed: int | Sequence[int] | None) -> None:
        pairs = [seeding.np_random(one) for one in self._seeds(seed)]
        self._generators = [generator for generator, _ in pairs]
        self._np_random, self._np_random_seed = pairs[0]

    def _reseed(self, seed: int | Sequence[int], rows: np.ndarray) -> None:
        """Begin the draws of some rows anew. The run and its SRM go on."""
        seeds = self._seeds(seed)
        for row in np.flatnonzero(rows).tolist():
            self._generators[row], _ = seeding.np_random(seeds[row])
            self.episode.draws.forget(row)

    def _seeds(self, seed: int | Sequence[int] | None) -> list[int | None]:
        if seed is None or isinstance(seed, (int, np.integer)):
            return [None if seed is None else int(seed) + row for row in range(self.num_envs)]
        if len(seed) != self.num_envs:
            raise OptionError(
                f"{len(seed)} seeds were given for {self.num_envs} environments: give one for each, or one whole "
                "number for all."
            )
        return list(seed)

    def _begin(self, rows: np.ndarray, indices: list[int] | None = None) -> None:
        which = np.flatnonzero(rows).tolist()
        generators = [self._generators[row] for row in which]
        if indices is None:
            indices = [
                self.episode.draws.draw(row, generator) for row, generator in zip(which, generators, strict=True)
            ]
        self.episode.reset(which, indices, generators)
        self._finished[rows] = False

    def _final(self, ended: np.ndarray, observation: Any, infos: dict[str, np.ndarray]) -> dict[str, Any]:
        """Return the last observations and infos of rows that restart within this step."""
        observations = np.full(self.num_envs, None, dtype=object)
        for row, last in enumerate(iterate(self.observation_space, observation)):
            if ended[row]:
                observations[row] = last
        return {
            "final_obs": observations,
            "_final_obs": ended.copy(),
            "final_info": _about(ended, infos),
            "_final_info": ended.copy(),
        }


def _about(rows: np.ndarray, infos: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Give each of the infos Gymnasium's mask of the rows that it is about, bool (B,)."""
    return infos | {f"_{name}": rows.copy() for name in infos}


if AlignSAMVectorEnv.__doc__:
    _OWN = {each.name for each in fields(VectorEnvConfig)} - {each.name for each in fields(EnvConfig)}
    AlignSAMVectorEnv.__doc__ = AlignSAMVectorEnv.__doc__.replace(
        "<options>", options_table(VectorEnvConfig, _OWN).replace("\n", "\n    ")
    )
