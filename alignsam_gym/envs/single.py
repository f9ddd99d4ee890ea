"""`AlignSAM-v0`, one episode at a time."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from alignsam_gym.envs.factory import make_episode
from alignsam_gym.envs.rendering import RENDER_FPS, RENDER_MODES, close_window, render_row, show
from alignsam_gym.envs.spaces import OBSERVATIONS, action_space, observation_space, observe, whole_numbers
from alignsam_gym.errors import OptionError, check_choice
from alignsam_gym.srm import SRM


class AlignSAMEnv(gym.Env, gym.utils.EzPickle):
    """Point SAM at what is meant, one patch after another.

    ## Description
    An image is to be segmented by a frozen Segment Anything Model that sees nothing but point prompts.
    Each step the agent chooses a patch; its centre becomes the next prompt, labelled foreground or
    background by the semantic recalibration module (SRM), and SAM answers all prompts so far with a mask.
    This is AlignSAM (Huang et al., CVPR 2024), §3.2 and §3.3.

    ## Action space
    ``Discrete(N)``: the patches of the frame, row by row; N = (image_size / patch_size)², 100 by default. With
    ``stop=True``, ``Discrete(N + 1)``, of which the last stops prompting.

    ## Observation space
    ``Box`` float32 (C, h, w), the state s_t = E(x) · M_{t−1} (Eq. 4): the image embedding times SAM's last
    mask, as probabilities on the embedding's grid. (128, 32, 32) for the embedded model.

    - ``state="concat"``: E(x), E(x) · M and M, (2C + 1, h, w).
    - ``state="guided"``: E(x) · M, M and the SRM's map, (C + 2, h, w).
    - ``observation="patches"``: the state's means over patches, ``Box`` float16 (channels, side, side): the agent's
      own grid, and 20 times less memory with the embedded model, 80 times with SAM. A guided state then has two
      channels more: the mean difference of M and the SRM's map, and that map at the patches' centres. Where revisits
      are forbidden, a ``Dict`` of these ``patches`` and ``visited`` int8 (N,).

    ## Rewards
    - ``foreground``: +1 if the patch's centre is foreground in the ground truth, else −1 (§3.2).
    - ``delta_iou``: the change of IoU that the prompt made, in [−1, 1].

    A mapping of these names to weights mixes them. Stopping gets 0.

    ## Starting state
    Two prompts, by ``initial_prompts``:

    - ``truth``: a random foreground and a random background pixel of the ground truth (§3.2).
    - ``srm``: the SRM's most and least likely point (§3.3).
    - ``clip``: those of CLIP's map.

    ## Episode end
    Truncated after `max_steps`, so that values bootstrap as in Eq. 6. Terminated by stopping only.

    ## Information
    - ``point``: float32 (2,), the last prompt, (x, y) in pixels of the frame; after a reset, the starting two's
      first, on the foreground.
    - ``label``: 1 foreground, 0 background, or −1 if none was given: the agent stopped, or there is no foreground to
      start from.
    - ``foreground``, ``repeated``: whether the last action hit the target, and an earlier patch.
    - ``iou``: of SAM's answer, in [0, 1], at the resolution of its logits.
    - ``index``, ``image_id``: the sample's place in the data set, and its id.

    ## Arguments
    - ``dataset``: a name in `alignsam_gym.data.DATASETS`, further keywords being the data set's own options;
      or an `alignsam_gym.data.Dataset`, any sequence of samples with ids and a name.
    - ``split``: ``train``, in which the SRM learns and prompts begin from the truth, or ``test``, in which
      the SRM is frozen and begins the prompts.
    - ``sam``: ``tiny``, the embedded model; ``vit_b``, ``vit_l``, ``vit_h``, ``vit_t`` (MobileSAM), ``sam_hq_vit_b``,
      ``_l``, ``_h``, or ``sam2.1_hiera_tiny``, ``_small``, ``_base_plus``, ``_large``, once downloaded by
      ``python -m experiments.weights``; or the path of a checkpoint of any of these. Or an
      `alignsam_gym.foundation.sam.PromptableModel`, with its own device and precision.
    - ``precision``: of the image encoder's arithmetic. ``float32``, ``bfloat16``, ``float16``, or ``auto``: bfloat16 on
      a GPU that has it, else float32.
    - ``decode_precision``: of the mask decoder's. ``float32``, equal to ``SamPredictor``, or ``bfloat16``, faster where
      the processor has it.
    - ``compile``: whether ``torch.compile`` makes the decoder.
    - ``clip``: what reads texts. ``tiny``, the embedded model, which knows the embedded data sets' targets and
      Pascal VOC's categories; an `open_clip` ViT, ``ARCHITECTURE/WEIGHTS`` as in ``ViT-B-16/openai``; or an
      `alignsam_gym.foundation.clip_surgery.TextMaps`. Loaded only where ``branch``, ``label_source`` or
      ``initial_prompts`` need it.
    - ``branch``: of the SRM. ``implicit``; ``explicit``, which is guided by CLIP's map of the sample's text; or
      ``auto``, the one that the data set prefers (`alignsam_gym.data.preferred_branch`).
    - ``label_source``: who labels a chosen point (Table 8). ``srm``; ``last``, SAM's last mask; ``clip``, CLIP's map
      of the sample's text; ``positive``, always foreground; ``oracle``, the ground truth.
    - ``image_size``: side of the frame that every image is resized to, in pixels (§4.1).
    - ``patch_size``: side of a patch, in pixels of the frame (§4.1).
    - ``max_steps``: T (§4.1).
    - ``initial_prompts``: ``truth``, ``srm``, ``clip``, or ``auto``: by the split, one of the first two.
    - ``reward``: ``foreground``, ``delta_iou``, or a mapping of both to weights.
    - ``state``: ``product``, ``concat`` or ``guided``.
    - ``observation``: ``state`` or ``patches``.
    - ``cells``: the SRM and ``observation="patches"`` see the state with at most so many cells a side, each the mean of
      several where the embedding has more. 64, SAM's own, is the paper's; 32 costs a quarter.
    - ``revisit``: ``allow`` (the paper), or ``forbid``: `action_masks` excludes patches already chosen.
    - ``stop``: whether the agent may stop prompting. The paper's may not.
    - ``mask_prompt``: whether SAM also gets its last answer, as a dense prompt. The paper's does not.
    - ``shots``: labelled images drawn from the training split; all if there are no more (§4.1).
    - ``shots_seed``: of that draw, and of augmentation.
    - ``shots_per``: ``dataset``, or ``category`` for so many of each category.
    - ``augment``: how often each labelled image is learned from, once as it is, else as an altered copy
      (`alignsam_gym.data.Augmented`).
    - ``on_error``: ``raise``, or ``skip`` to go on without samples that cannot be loaded, with a warning for each.
      All of a test split are then loaded once ahead.
    - ``device``: ``auto``, ``cpu``, ``cuda``, ….
    - ``cache_dir``: where embeddings are kept; by default ``$ALIGNSAM_CACHE`` or the user's cache.
    - ``srm``: options of the SRM (`alignsam_gym.srm.SRMConfig`), or a trained `alignsam_gym.srm.SRM`, which
      is used frozen: ``gym.make("AlignSAM-v0", split="test", srm=training_env.unwrapped.srm)``. The test split warns
      where one that learned nothing is to label prompts.
    - ``render_mode``: ``rgb_array`` or ``human``.

    ``reset(seed=…)`` begins a new run: all randomness, and the initial weights of an SRM that learns, come
    from the seed. ``reset(options={"index": i})`` plays on image i.

    Raises `alignsam_gym.errors.OptionError` for a value that has no meaning here, ``DataError`` for data and
    ``WeightsError`` for weights that are missing or damaged; all are ``AlignSAMError``.

    ## Version history
    - v0: first version.
    """

    metadata = {"render_modes": RENDER_MODES, "render_fps": RENDER_FPS}  # noqa: RUF012  # as Gymnasium declares it

    def __init__(self, *, observation: str = "state", render_mode: str | None = None, **options: Any) -> None:
        gym.utils.EzPickle.__init__(self, observation=observation, render_mode=render_mode, **options)
        self.observation = check_choice("observation", observation, OBSERVATIONS)
        self.render_mode = (
            None if render_mode is None else check_choice("render_mode", render_mode, tuple(RENDER_MODES))
        )
        self.episode = make_episode(1, **options)
        self.observation_space = observation_space(self.episode, observation)
        self.action_space = action_space(self.episode)
        self._started, self._ended = False, True

    @property
    def srm(self) -> SRM:
        """The semantic recalibration module that this environment asks, and teaches if it learns."""
        return self.episode.srm

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode, and with a seed a new run.

        options: ``index``, the sample to play on. Raises OptionError for any other, and DataError for a sample that
        cannot be loaded.
        """
        super().reset(seed=seed)
        if seed is not None or not self._started:
            self.episode.start_run(int(self.np_random_seed))
            self._started = True
        if unknown := (options or {}).keys() - {"index"}:
            raise OptionError(f"reset has no option {', '.join(sorted(unknown))}; it takes index.")
        index = (options or {}).get("index")
        chosen = self.episode.draw(0, self.np_random) if index is None else int(whole_numbers("index", index, ()))
        self.episode.begin([0], [chosen], [self.np_random])
        self._ended = False
        if self.render_mode == "human":
            self.render()
        return self._observe(), self._info()

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Prompt at the patch `action`. Raises OptionError for one not in the space, and Gymnasium's ResetNeeded."""
        if self._ended:
            raise gym.error.ResetNeeded("Call reset() before step(): no episode is in progress.")
        if not self.action_space.contains(action):
            raise OptionError(f"Action {action!r} is not in {self.action_space}.")
        reward = float(self.episode.act([0], [int(action)])[0])
        if self.render_mode == "human":
            self.render()
        terminated, truncated = bool(self.episode.terminated()[0]), bool(self.episode.truncated()[0])
        self._ended = terminated or truncated
        return self._observe(), reward, terminated, truncated, self._info()

    def action_masks(self) -> np.ndarray:
        """bool (N,), with stopping (N + 1,): the actions that the `revisit` rule leaves."""
        return self.episode.allowed()[0]

    def render(self) -> np.ndarray | None:
        """uint8 RGB: image, ground truth, prediction with numbered prompts; or a window, in ``human`` mode."""
        if self.render_mode is None:
            gym.logger.warn("render() was called without a render_mode; pass one to gym.make.")
            return None
        picture = render_row(self.episode, 0)
        if self.render_mode == "human":
            show(picture)
            return None
        return picture

    def close(self) -> None:
        if self.render_mode == "human":
            close_window()

    def _observe(self) -> Any:
        batch = observe(self.episode, self.observation)
        return {name: part[0] for name, part in batch.items()} if isinstance(batch, dict) else batch[0]

    def _info(self) -> dict[str, Any]:
        return {name: fact[0] for name, fact in self.episode.facts().items()}
