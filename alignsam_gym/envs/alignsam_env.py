"""`AlignSAM-v0`, one episode at a time."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from alignsam_gym.envs.env_config import EnvConfig
from alignsam_gym.envs.episode_factory import make_episode
from alignsam_gym.envs.rendering import RENDER_FPS, RENDER_MODES, close_window, render_row, show
from alignsam_gym.envs.resumable import ResumableMixin
from alignsam_gym.envs.spaces import action_space, observation_space, outcome_of, reset_options, whole_numbers
from alignsam_gym.errors import OptionError
from alignsam_gym.options import options_table, takes_options_of
from alignsam_gym.srm import SRM


class AlignSAMEnv(ResumableMixin, gym.Env[Any, Any]):
    """Point SAM at what is meant, one patch after another.

    ## Description
    An image is to be segmented by a frozen Segment Anything Model that sees nothing but point prompts. Each step the
    agent chooses a patch. The patch's centre becomes the next prompt, the semantic recalibration module (SRM) labels
    it foreground or background, and SAM answers all prompts so far with a mask. This is AlignSAM (Huang et al., CVPR
    2024), §3.2 and §3.3.

    ## Action space
    ``Discrete(N)``: the patches of the frame, row by row; N = (image_size / patch_size)², 100 by default. With
    ``stop=True``, ``Discrete(N + 1)``, of which the last stops prompting.

    ## Observation space
    ``Box`` float32 (C, h, w), the state s_t = E(x) · M_{t−1} (Eq. 4): the image embedding times SAM's last mask, as
    probabilities on the embedding's grid. (128, 32, 32) for the embedded model.

    - ``state="concat"``: E(x), E(x) · M and M, (2C + 1, h, w).
    - ``state="guided"``: E(x) · M, M and the SRM's map, (C + 2, h, w).
    - ``observation="patches"``: the state's means over patches, ``Box`` float16 (channels, side, side). This is the
      agent's own grid, and takes 20 times less memory with the embedded model, 80 times with SAM. A guided state then
      has two more channels: the mean difference of M and the SRM's map, and that map at the patches' centres. Where
      revisits are forbidden, a ``Dict`` of these ``patches`` and ``visited`` int8 (N,).
    - ``observation="cells"``: a ``Dict`` of the ``state`` on the SRM's grid (``srm_grid_size``), float16 (channels, g,
      g), and of what it can be formed from anew, the ``image``'s index, int64 (1,), and the ``maps``, float16 (K, g,
      g): M, and the SRM's map where the state is guided. Where revisits are forbidden, it has ``visited``, too.

    - ``observation="evidence"``: by patch, what SAM and the SRM say of it and what was prompted, but no embedding, so
      that one policy serves every SAM: ``Box`` float32 (24, side, side) in [−1, 1], whose channels are
      `alignsam_gym.envs.patch_evidence.EVIDENCE_CHANNELS`. Where revisits are forbidden, a ``Dict`` of this
      ``evidence`` and ``visited`` int8 (N,).

    ## Rewards
    - ``foreground``: +1 if the patch's centre is foreground in the ground truth, else −1 (§3.2).
    - ``delta_iou``: the change that the prompt made to the answer's IoU, in [−1, 1].

    A mapping of these names to weights mixes them. Stopping gets 0.

    ## Starting state
    Two prompts, by ``initial_prompts``:

    - ``truth``: a random foreground and a random background pixel of the ground truth (§3.2).
    - ``srm``: the SRM's most and least likely point (§3.3).
    - ``clip``: those of CLIP's map.

    ``reset(seed=…)`` begins a new run: all randomness, and the initial weights of an SRM that learns, come from the
    seed. ``reset(options={"index": i})`` plays on image i.

    ## Episode end
    Truncated after `max_steps`, so that values bootstrap as in Eq. 6. Terminated by stopping only.

    ## Information
    - ``point``: float32 (2,), the last prompt, (x, y) in pixels of the frame. After a reset it is the first of the
      starting two, on the foreground.
    - ``label``: 1 foreground, 0 background, or −1 if none was given: the agent stopped, or there is no foreground to
      start from.
    - ``foreground``, ``repeated``: whether the last action hit the target, and an earlier patch.
    - ``iou``: of the answer, by `answer`, in [0, 1], at the resolution of SAM's logits.
    - ``index``, ``image_id``: the sample's place in the data set, and its id.

    ## Copies
    ``state_dict`` and ``load_state_dict``, ``pickle`` and ``copy.deepcopy`` keep an episode in progress, and what the
    SRM has learned.

    ## Arguments
    Where a keyword is not given, ``preset`` decides: ``paper`` plays the paper's game, ``best`` the one that
    ``alignsam train`` trains.

    <options>

    ## Errors
    `alignsam_gym.errors.OptionError` for a value that has no meaning here, ``DataError`` for data and
    ``WeightsError`` for weights that are missing or damaged. All are ``AlignSAMError``.

    ## Version history
    - v0: first version.
    """

    metadata = {"render_modes": RENDER_MODES, "render_fps": RENDER_FPS}  # noqa: RUF012  # as Gymnasium declares it

    @takes_options_of(EnvConfig)
    def __init__(self, **options: Any) -> None:
        gym.utils.EzPickle.__init__(self, **options)
        self.config = EnvConfig.of(options)
        self.render_mode = self.config.render_mode
        self.episode = make_episode(self.config)
        self.observation_space = observation_space(self.episode, self.config.observation)
        self.action_space = action_space(self.episode)
        self._started = False
        self._finished = np.ones(1, bool)

    @property
    def generators(self) -> list[np.random.Generator]:
        return [self.np_random] if self._started else []

    @property
    def srm(self) -> SRM:
        """The semantic recalibration module that labels this environment's points."""
        return self.episode.srm

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode, and with a seed a new run.

        Args:
            seed: Seed of all randomness, and of the initial weights of an SRM that learns: what it has learned is
                forgotten. Without a seed it is kept.
            options: ``index``, the sample to play on.

        Returns:
            The observation and the infos, as the class describes them.

        Raises:
            OptionError: There is no such option or sample.
            DataError: The sample cannot be loaded.
        """
        index = reset_options(options, ["index"]).get("index")
        if seed is not None or not self._started:
            self._start_run(seed)
        chosen = self.episode.draws.draw(0, self.np_random) if index is None else int(whole_numbers("index", index, ()))
        self.episode.reset([0], [chosen], [self.np_random])
        self._finished[:] = False
        if self.render_mode == "human":
            self.render()
        observation, _, infos = outcome_of(self.episode, self.config.observation)
        return _only(observation), _only(infos)

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Prompt at the centre of a patch.

        Args:
            action: The patch, or N to stop where the rules have it.

        Returns:
            Observation, reward, whether the agent stopped, whether `max_steps` is reached, infos.

        Raises:
            OptionError: The action is not in the space.
            gymnasium.error.ResetNeeded: No episode is in progress.
        """
        if self._finished[0]:
            raise gym.error.ResetNeeded("Call reset() before step(): no episode is in progress.")
        if not self.action_space.contains(action):
            raise OptionError(f"Action {action!r} is not in {self.action_space}.")
        self.episode.step([0], [int(action)])
        if self.render_mode == "human":
            self.render()
        terminated, truncated = bool(self.episode.terminated()[0]), bool(self.episode.truncated()[0])
        self._finished[:] = terminated or truncated
        observation, rewards, infos = outcome_of(self.episode, self.config.observation)
        return _only(observation), float(rewards[0]), terminated, truncated, _only(infos)

    def action_masks(self) -> np.ndarray:
        """Return the actions that the `revisit` rule leaves, bool (N,), with stopping (N + 1,).

        So sb3-contrib's MaskablePPO wants them. Gymnasium's ``action_space.sample(mask=…)`` wants them as np.int8.
        """
        allowed: np.ndarray = self.episode.allowed()[0]
        return allowed

    def render(self) -> np.ndarray | None:
        """Draw image, ground truth and prediction with numbered prompts, uint8 RGB (400, 1200, 3).

        In ``human`` mode they appear in a window, and None is returned.
        """
        if self.render_mode is None:
            gym.logger.warn("render() was called without a render_mode; pass one to gym.make.")
            return None
        picture = render_row(self.episode, 0)
        if self.render_mode == "human":
            show(picture)
            return None
        return picture

    def close(self) -> None:
        """Close the window, if there is one."""
        if self.render_mode == "human":
            close_window()

    def _seed_generators(self, seed: int | None) -> None:
        super().reset(seed=seed)
        self._started = True


def _only(batch: Any) -> Any:
    """Return the one row of a batch, an array or a dictionary of arrays."""
    return {name: part[0] for name, part in batch.items()} if isinstance(batch, dict) else batch[0]


if AlignSAMEnv.__doc__:  # python -OO leaves docstrings out
    AlignSAMEnv.__doc__ = AlignSAMEnv.__doc__.replace("<options>", options_table(EnvConfig).replace("\n", "\n    "))
