"""A trained agent for images that have no masks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from stable_baselines3.common.policies import BasePolicy

from alignsam_gym.agents.agent_config import Recipe, is_digest, official, portable, read_recipe, weights_file
from alignsam_gym.agents.agent_prompter import AgentPrompter
from alignsam_gym.agents.bundle import opened
from alignsam_gym.agents.hub import download
from alignsam_gym.agents.trained_run import trained_policy
from alignsam_gym.agents.vec_env import make_environments
from alignsam_gym.data.image_files import read_image, rgb_of
from alignsam_gym.data.samples import Sample
from alignsam_gym.envs.alignsam_vector_env import AlignSAMVectorEnv
from alignsam_gym.envs.episode import Episode
from alignsam_gym.envs.prompters import play
from alignsam_gym.envs.rendering import upsampled_logits
from alignsam_gym.errors import AlignSAMError, DataError, OptionError, WeightsError, check_count
from alignsam_gym.foundation.encoding.embedding_store import RecentStore
from alignsam_gym.foundation.encoding.encoded_dataset import EncodedDataset, resize
from alignsam_gym.foundation.sam.batched_decoder import PADDING

Picture = np.ndarray | Image.Image | str | Path
"""An image: uint8 (H, W, 3) RGB, a Pillow image, or the path of a file."""

_RECENT = 32  # records kept, of 2 to 8 MiB each


@dataclass(frozen=True)
class Prediction:
    """What an agent makes of an image of H × W pixels.

    mask: bool (H, W). probability: float32 (H, W) in [0, 1], SAM's; above 0.5 in the mask.
    points: float32 (n, 2), the prompts' (x, y) in pixels of the image, whose upper left corner is (0, 0); the first two
    are the initial pair (§3.3), then comes one for each step. labels: int64 (n,), 1 foreground, 0 background.
    """

    mask: np.ndarray
    probability: np.ndarray
    points: np.ndarray
    labels: np.ndarray


class AlignSAM:
    """A trained agent with its SRM and its SAM.

    >>> agent = AlignSAM.load("outputs/train/2026-01-01_12-00-00")  # or a bundle, as a folder or as one file
    >>> agent.predict("photo.jpg").mask

    Images may have any size. Nothing is kept of them but the latest encodings, in memory.
    """

    def __init__(self, episode: Episode, policy: BasePolicy, text: str | None) -> None:
        self.rules, self.model, self.clip, self.srm = episode.rules, episode.model, episode.encoded.clip, episode.srm
        self.rows, self.text = len(episode), text
        self.policy = policy
        self._store = RecentStore(_RECENT)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        sam: str | None = None,
        clip: str | None = None,
        device: str | torch.device = "auto",
        batch_size: int = 16,
    ) -> AlignSAM:
        """An agent from anyone: a run's folder, or a bundle of `alignsam_gym.agents.bundle`, a folder or one file.

        sam, clip: as for ``AlignSAM-v0``, if not those that the agent was trained with; needed where these are files,
        and where a CLIP is not here, as a bundle may not choose which files are opened and which downloaded.
        batch_size: images prompted at once by `predict_many`.

        Nothing is unpickled and nothing run. Raises WeightsError for what is missing, damaged or refused, OptionError
        for a device that is not here.
        """
        with opened(Path(path)) as folder:
            return cls._of(folder, with_models(read_recipe(folder), sam, clip), device, batch_size)

    @classmethod
    def from_hub(cls, repo: str, *, revision: str | None = None, **options: Any) -> AlignSAM:
        """An agent from the Hugging Face Hub, ``user/name`` (extra ``hub``); options: of `load`."""
        return cls.load(download(repo, revision), **options)

    @classmethod
    def from_run(cls, path: str | Path, *, device: str | torch.device = "auto", batch_size: int = 16) -> AlignSAM:
        """An agent that you trained: as `load`, but files of weights that its configuration names are opened."""
        return cls._of(Path(path), read_recipe(Path(path)), device, batch_size)

    @classmethod
    def _of(cls, folder: Path, recipe: Recipe, device: str | torch.device, batch_size: int) -> AlignSAM:
        for name, value in (("label_source", "oracle"), ("initial_prompts", "truth")):
            if recipe.env.get(name) == value:
                raise OptionError(f"env.{name}={value}: this agent prompts by the ground truth, which new images lack.")
        check_count("batch_size", batch_size, "at least one image is prompted at once")
        env, policy = restore(folder, recipe, device, batch_size)
        return cls(env.episode, policy, recipe.text)

    def predict(self, image: Picture, text: str | None = None) -> Prediction:
        """The mask of an image after all prompts.

        text: what to look for, for an agent that a text guides; by default what it was trained for, if that was one
        text. Raises OptionError if a text is needed and missing, or given and not looked at; DataError for an image
        that is none.
        """
        return next(self.predict_many([image], text))

    def predict_steps(self, image: Picture, text: str | None = None) -> Iterator[Prediction]:
        """As `predict`, after 0, 1, …, T prompts besides the initial pair."""
        text, frame = self._text(text), self._frame(image)
        return (self._prediction(episode, 0, frame) for episode in self._play([frame], text))

    def predict_many(self, images: Iterable[Picture], text: str | None = None) -> Iterator[Prediction]:
        """As `predict`, of one image after the other, prompted in batches; images are asked for as they are needed."""
        return self._in_batches(iter(images), self._text(text))

    def _in_batches(self, images: Iterator[Picture], text: str | None) -> Iterator[Prediction]:
        while frames := [self._frame(image) for image in islice(images, self.rows)]:
            *_, episode = self._play(frames, text)
            for row, frame in enumerate(frames):
                yield self._prediction(episode, row, frame)

    def _play(self, frames: Sequence[_Frame], text: str | None) -> Iterator[Episode]:
        """Episodes on `frames`, after each step."""
        samples = Unlabelled([frame.pixels for frame in frames], text)
        size = self.rules.grid.image_size
        encoded = EncodedDataset(samples, self.model, self._store, size, self.clip)
        episode = Episode(self.rules, encoded, self.srm, learns=False, count=len(frames))
        for _ in play(episode, range(len(frames)), AgentPrompter(self.policy, deterministic=True)):
            yield episode

    def _prediction(self, episode: Episode, row: int, frame: _Frame) -> Prediction:
        logits = upsampled_logits(episode.logits[row], frame.size)
        given = episode.labels[row] != PADDING
        height, width = frame.size
        scale = torch.tensor([width, height], device=given.device) / self.rules.grid.image_size
        return Prediction(
            mask=(logits > 0).cpu().numpy(),
            probability=logits.sigmoid_().cpu().numpy(),
            points=(episode.points[row][given] * scale).cpu().numpy(),
            labels=episode.labels[row][given].cpu().numpy(),
        )

    def _frame(self, image: Picture) -> _Frame:
        side = self.rules.grid.image_size
        pixels = _pixels(image)
        return _Frame(resize(pixels, (side, side)), (pixels.shape[0], pixels.shape[1]))

    def _text(self, text: str | None) -> str | None:
        if self.clip is None:
            if text is not None:
                raise OptionError(f"text={text!r}: this agent is guided by images alone; leave the text out.")
            return None
        chosen = text or self.text
        if not chosen:
            raise OptionError("This agent is guided by a text, which differed by image in its training: give text=….")
        return chosen


def with_models(recipe: Recipe, sam: str | None, clip: str | None) -> Recipe:
    """With `sam` and `clip` where they are given, as `AlignSAM.load` explains. Raises WeightsError."""
    given = {"sam": sam, "clip": clip}
    trained = {kind: str(recipe.env.get(kind, "tiny")) for kind in given}
    if not recipe.guided:
        trained["clip"] = "tiny"  # none is opened
    chosen = {kind: _chosen(kind, trained[kind], name) for kind, name in given.items()}
    return replace(recipe, env=recipe.env | chosen)


def restore(
    folder: Path, recipe: Recipe, device: str | torch.device, batch_size: int
) -> tuple[AlignSAMVectorEnv, BasePolicy]:
    """An environment without images, its SRM trained, and the policy of a run or bundle. Raises AlignSAMError."""
    try:
        env = make_environments(
            batch_size, dataset=Unlabelled([], None), split="test", device=device, srm=recipe.srm, **recipe.env
        )
        return env, trained_policy(folder, env, recipe.agent, recipe.policy)
    except AlignSAMError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError) as error:  # the options are words and numbers, but whose?
        raise WeightsError(f"{folder} does not describe an agent ({type(error).__name__}: {error}).") from error


class _Frame(NamedTuple):
    """An image in the frame's size, uint8 (S, S, 3), and its own (H, W)."""

    pixels: np.ndarray
    size: tuple[int, int]


class Unlabelled:
    """Images without ground truth, as a data set whose masks are empty."""

    name = "images"

    def __init__(self, frames: Sequence[np.ndarray], text: str | None) -> None:
        self.frames, self.text = frames, text
        self.ids: Sequence[str] = [str(number) for number in range(len(frames))]

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Sample:
        frame = self.frames[index]
        return Sample(self.ids[index], frame, np.zeros(frame.shape[:2], bool), text=self.text)


def _pixels(image: Picture) -> np.ndarray:
    if isinstance(image, str | Path):
        return read_image(Path(image))
    if isinstance(image, Image.Image):
        return rgb_of(image)
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise DataError(f"An image is an array uint8 (H, W, 3) in RGB, a Pillow image or a path, not {found}.")
    if not image.size:
        raise DataError(f"An image of {image.shape[0]} × {image.shape[1]} pixels has nothing to segment.")
    return image


def _chosen(kind: str, trained: str, given: str | None) -> str:
    """The `sam` or `clip` to use: the given, or else the trained with, if that is no file and need not be downloaded.

    Raises WeightsError.
    """
    if given is None:
        if not official(kind, trained):
            raise WeightsError(
                f"This agent was trained with a {kind} of its maker's own, {trained}: give its file, {kind}=<path>."
            )
        if kind == "clip" and not _here(trained):
            raise WeightsError(
                f"This agent was trained with clip={trained}, which is not here: give clip={trained} to have it "
                "downloaded."
            )
        return trained
    own = is_digest(kind, trained) and not official(kind, given) and weights_file(kind, given).is_file()
    if own and portable(kind, given) != trained:
        raise WeightsError(f"{kind}={given} is not the model that this agent was trained with, {trained}.")
    return given


def _here(clip: str) -> bool:
    """Whether a published CLIP can be loaded without a download."""
    if clip == "tiny":
        return True
    from alignsam_gym.foundation.clip_surgery import is_downloaded  # open_clip takes seconds to import

    return is_downloaded(clip)
