"""The vector environment as Stable-Baselines3 wants it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices

from alignsam_gym.envs.alignsam_vector_env import AlignSAMVectorEnv
from alignsam_gym.errors import OptionError


def make_environments(num_envs: int, observation: str = "patches", **options: Any) -> AlignSAMVectorEnv:
    """Make the vector environment that `PromptVecEnv` and the policies need.

    Args:
        num_envs: Number of episodes that are played at once.
        observation: What the policy reads; see `observation_of`.
        **options: Further keywords of `AlignSAM-v0`.

    Raises:
        AlignSAMError: An option is unknown, or what it names is not there.
    """
    envs = gym.make_vec(
        "alignsam_gym:AlignSAM-v0",
        num_envs=num_envs,
        vectorization_mode="vector_entry_point",
        autoreset_mode="SameStep",
        observation=observation,
        **options,
    )
    assert isinstance(envs, AlignSAMVectorEnv)
    return envs


class PromptVecEnv(VecEnv):
    """One `AlignSAMVectorEnv` as an SB3 ``VecEnv``, without copies of the environment and without processes.

    The info of a row that ends carries ``terminal_observation`` and ``TimeLimit.truncated``. Unless the agent stopped,
    the end is a truncation, from which SB3 bootstraps γ^(T−t) V(s_T) (Eq. 6).

    Args:
        env: An environment with ``autoreset_mode="SameStep"``, as SB3 expects a reset within the step.

    Raises:
        OptionError: The environment is of another class, is wrapped, or has another mode.
    """

    def __init__(self, env: AlignSAMVectorEnv) -> None:
        if not isinstance(env, AlignSAMVectorEnv):
            raise OptionError(
                f"PromptVecEnv needs an AlignSAMVectorEnv without wrappers, as make_environments makes it, not {env}. "
                "Wrappers of Stable-Baselines3 go around the PromptVecEnv."
            )
        if env.autoreset_mode != AutoresetMode.SAME_STEP:
            raise OptionError(f"PromptVecEnv needs autoreset_mode='SameStep', not {env.autoreset_mode.value!r}.")
        self.env = env
        self.render_mode = env.render_mode
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def reset(self) -> Any:
        """Begin new episodes with the seeds and options that ``seed`` and ``set_options`` left for this reset.

        It warns if seeds make an SRM forget what it has learned.

        Returns:
            The observations of all rows.

        Raises:
            OptionError: The rows' options have different names.
        """
        seeds = self._seeds if any(seed is not None for seed in self._seeds) else None
        if seeds and self.env.episode.learns and self.env.srm.learned:
            warnings.warn(
                "Seeds, which Stable-Baselines3's load(…, env=…) gives, begin a new run: what the SRM has learned is "
                "forgotten. To keep it, load without env=…, and then call set_env.",
                stacklevel=2,
            )
        observation, info = self.env.reset(seed=seeds, options=self._merged_options())  # type: ignore[arg-type]
        self._reset_seeds()
        self._reset_options()
        self.reset_infos = _infos_by_row(info, range(self.num_envs))
        return observation

    def _merged_options(self) -> dict[str, list[Any]]:
        """The rows' options for the next reset, as the vector environment takes them."""
        first = self._options[0]
        if any(row.keys() != first.keys() for row in self._options):
            raise OptionError(f"The rows' options must have the same names, unlike {self._options}.")
        return {name: [row[name] for row in self._options] for name in first}

    def step_async(self, actions: NDArray[np.int64]) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> Any:
        """Prompt each row once.

        Returns:
            The observations; rewards float32 (B,); dones bool (B,), whether each row ended; and one info a row. Where
            a row ended, its observation is the next episode's first and its info the ended episode's last.
        """
        observation, rewards, terminations, truncations, info = self.env.step(self._actions)
        infos = _infos_by_row(info, range(self.num_envs))
        ended = np.flatnonzero(terminations | truncations)
        if len(ended):
            last_infos = _infos_by_row(info["final_info"], ended)
            for row, last in zip(ended, last_infos, strict=True):
                infos[row] = last | {
                    "terminal_observation": info["final_obs"][row],
                    "TimeLimit.truncated": bool(truncations[row] and not terminations[row]),
                }
        return observation, rewards.astype(np.float32), terminations | truncations, infos

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """Return an RGB picture of each row, or None for each without a ``render_mode`` that draws them."""
        return self.env.render() or [None] * self.num_envs

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Return the vector environment's attribute, once for each row."""
        return [getattr(self.env, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set the vector environment's attribute, which all rows share."""
        setattr(self.env, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any) -> list[Any]:
        """Call the vector environment's method once and return its result for each row."""
        result = getattr(self.env, method_name)(*args, **kwargs)
        if method_name == "action_masks":  # the one method whose result differs by row
            return [result[row] for row in self._get_indices(indices)]
        return [result for _ in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: type, indices: VecEnvIndices = None) -> list[bool]:
        """Return False for each row, as rows are not environments of their own."""
        return [False for _ in self._get_indices(indices)]


def _infos_by_row(info: dict[str, Any], rows: Iterable[int]) -> list[dict[str, Any]]:
    """Gymnasium's dict of arrays as one dict for each of `rows`, without its masks and ``final_`` entries."""
    names = [name for name in info if f"_{name}" in info and not name.startswith("final_")]
    return [{name: info[name][row] for name in names} for row in rows]
