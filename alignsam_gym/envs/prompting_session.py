"""Prompting images that have no masks: step by step, and with points of a user's own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from alignsam_gym.data.image_files import IntensityRange, read_image, rgb_of
from alignsam_gym.data.samples import Sample
from alignsam_gym.envs.episode import Episode
from alignsam_gym.envs.fused_answer import agreement
from alignsam_gym.envs.initial_prompts import INITIAL_PROMPTS
from alignsam_gym.envs.prompters import Prompter, begin
from alignsam_gym.envs.rules import Rules
from alignsam_gym.errors import DataError, OptionError
from alignsam_gym.foundation.encoding.embedding_store import RecentStore, Store
from alignsam_gym.foundation.encoding.encoded_dataset import EncodedDataset
from alignsam_gym.foundation.sam.batched_decoder import PADDING
from alignsam_gym.foundation.sam.predictor import BatchedSamPredictor
from alignsam_gym.srm import SRM
from alignsam_gym.transforms import (
    frame_to_image,
    frame_to_unit,
    image_to_frame,
    mask_from_logits,
    resize_image,
    resize_map,
    upsample_logits,
)

if TYPE_CHECKING:
    from alignsam_gym.foundation.clip_model import ClipModel

ImageLike = np.ndarray | Image.Image | str | Path
"""An image: uint8 (H, W, 3) RGB, a Pillow image, or the path of a file."""


class UserPoint(NamedTuple):
    """A user's prompt: (x, y) in pixels of the image, and whether it is on the target."""

    x_px: float
    y_px: float
    positive: bool


@dataclass(frozen=True, eq=False)
class Prediction:
    """The answer to the prompts on one image of H × W pixels, by `Rules.answer`.

    Attributes:
        points: float32 (n, 2), the prompts' (x, y) in pixels of the image, whose upper left corner is (0, 0). First
            come the two of the initial pair (§3.3), then one for each step, then a user's own.
        labels: int64 (n,), 1 foreground, 0 background.
        logits: float32 (4h, 4w), the answer at the resolution of SAM's logits, on the model's device.
        size: (H, W).
    """

    points: np.ndarray
    labels: np.ndarray
    logits: Tensor
    size: tuple[int, int]

    @cached_property
    def mask(self) -> np.ndarray:
        """bool (H, W)."""
        return mask_from_logits(self.logits, self.size)

    @cached_property
    def probability(self) -> np.ndarray:
        """float32 (H, W) in [0, 1], above 0.5 in the mask."""
        return np.asarray(upsample_logits(self.logits, self.size).sigmoid_().cpu().numpy())

    @property
    def score(self) -> float:
        """The mean probability in the mask, from 0.5 to 1; 0 of an empty one. It is no estimate of the IoU."""
        return float(self.probability[self.mask].mean()) if self.mask.any() else 0.0


class PromptMaps(NamedTuple):
    """What guides the prompts on an image; float32 (g, g) in [0, 1] each, on the SRM's grid.

    Attributes:
        srm: The SRM's map (Eq. 12); None of an SRM that has learned nothing.
        clip: CLIP's map of the text, M_c; None where no text guides the prompts.
    """

    srm: np.ndarray | None
    clip: np.ndarray | None


class _Played(NamedTuple):
    """What a step led to: SAM's logits and the answers, float (B, 4h, 4w), and the SRM's logits, (B, g, g)."""

    logits: Tensor
    answers: Tensor
    srm_logits: Tensor

    @classmethod
    def of(cls, episode: Episode) -> _Played:
        return cls(episode.logits.clone(), episode.answers.clone(), episode.srm_logits.clone())


class PromptingSession:
    """Prompts SAM on images that have no masks.

    >>> session = agent.session()  # of an `AlignSAM`
    >>> session.set_image("photo.jpg")
    >>> while session.step():
    ...     show(session.prediction().mask)
    >>> session.add_point(120, 45, positive=False)  # a correction
    >>> session.prediction().mask

    Images may have any size. Nothing is kept of them but the latest encodings, in memory. What the prompter sees is
    SAM's answer without the user's points. A session is for one thread at a time; sessions of several threads may share
    model, SRM, CLIP and store.

    Args:
        rules: Of the prompting game. No rule may ask for the ground truth.
        model: The SAM.
        srm: A trained SRM, which is used frozen.
        prompter: Chooses the next patch of each image.
        clip: Draws the map of a text, where one guides the prompts.
        features: The CLIP whose dense features the SRM sees, if it sees some.
        text: What to look for unless `set_image` says otherwise.
        intensity_range: What to make of images with more than 8 bits that are files or Pillow's.
        store: Keeps encodings. Sessions that share a store share its encodings.

    Raises:
        OptionError: The rules ask for the ground truth.
    """

    def __init__(
        self,
        rules: Rules,
        model: BatchedSamPredictor,
        srm: SRM,
        prompter: Prompter,
        *,
        clip: ClipModel | None = None,
        features: ClipModel | None = None,
        text: str | None = None,
        intensity_range: IntensityRange = "auto",
        store: Store | None = None,
    ) -> None:
        for name, value in (("label_source", "oracle"), ("initial_prompts", "truth")):
            if getattr(rules, name) == value:
                raise OptionError(f"{name}={value}: this agent prompts by the ground truth, which new images lack.")
        self.rules, self.model, self.srm, self.prompter = rules.for_split("test"), model, srm, prompter
        self.clip, self.text, self._intensity_range = clip, text, intensity_range
        self._features = features
        self._store: Store = RecentStore() if store is None else store
        self._forget()

    def _forget(self) -> None:
        """Have no images."""
        self._episode: Episode | None = None
        self._sizes: list[tuple[int, int]] = []
        self._played: list[_Played] = []
        self._patches: list[list[int]] = []
        self._user_points: list[list[UserPoint]] = []

    @property
    def steps(self) -> int:
        """How many steps have been taken since the initial pair."""
        return max(0, len(self._played) - 1)

    def set_image(self, image: ImageLike, text: str | None = None) -> None:
        """Begin anew on one image, with the initial pair; see `set_images`."""
        self.set_images([image], text)

    @torch.no_grad()
    def set_images(self, images: Iterable[ImageLike], text: str | None = None) -> int:
        """Begin anew on several images at once, with the initial pair (§3.3) on each.

        Args:
            images: Taken one by one; each is brought to the frame's size before the next is asked for.
            text: What to look for in all of them, if a text guides the prompts.

        Returns:
            How many images there are; if there are none, the session has none to prompt.

        Raises:
            OptionError: A text is needed and missing, or given and not looked at.
            DataError: An image is none, or cannot be read.
        """
        text = self._resolve_text(text)
        self._forget()  # so that two episodes are never in memory
        side = self.rules.grid.image_size
        frames, sizes = [], []
        for image in images:
            pixels = read_pixels(image, self._intensity_range)
            frames.append(resize_image(pixels, (side, side)))
            sizes.append((pixels.shape[0], pixels.shape[1]))
        if not frames:
            return 0
        samples = UnlabelledImages(frames, text)
        encoded = EncodedDataset(samples, self.model, self._store, side, self.clip, self._features)
        episode = Episode(self.rules, encoded, self.srm, learns=False, count=len(frames))
        begin(episode, range(len(frames)))
        self._episode, self._sizes, self._played = episode, sizes, [_Played.of(episode)]
        self._patches, self._user_points = [[] for _ in frames], [[] for _ in frames]
        return len(frames)

    @torch.no_grad()
    def step(self) -> bool:
        """Let the prompter give each image one more prompt.

        Returns:
            Whether any image got one. None does once all have had T of them, or the prompter has chosen to stop.

        Raises:
            OptionError: There is no image yet.
        """
        episode = self._playing()
        if (episode.truncated() | episode.terminated()).all():
            return False
        actions = self.prompter(episode)
        episode.step(range(len(episode)), actions)
        going = np.flatnonzero(~episode.terminated())
        for row in going:
            self._patches[row].append(int(actions[row]))
        if len(going):
            self._played.append(_Played.of(episode))
        return len(going) > 0

    def add_point(self, x_px: float, y_px: float, positive: bool, row: int = 0) -> None:
        """Add a user's point to the prompts on one of the images.

        Args:
            x_px: From 0, the image's left edge, to its width.
            y_px: From 0, the image's upper edge, to its height.
            positive: Whether the point is on the target.
            row: Which image.

        Raises:
            OptionError: The point is outside the image, or there is no such image.
        """
        self._playing(row)
        height, width = self._sizes[row]
        if not (0 <= x_px <= width and 0 <= y_px <= height):
            raise OptionError(f"A point in this image has x from 0 to {width} and y from 0 to {height}.")
        self._user_points[row].append(UserPoint(x_px, y_px, positive))

    def undo(self, row: int = 0) -> None:
        """Take back the point that a user added last, if there is one."""
        self._playing(row)
        del self._user_points[row][-1:]

    def user_points(self, row: int = 0) -> Sequence[UserPoint]:
        """The points that a user has added to an image, in their order."""
        self._playing(row)
        return tuple(self._user_points[row])

    def patches(self, row: int = 0) -> Sequence[int]:
        """The patches that the prompter has chosen on an image, in their order."""
        self._playing(row)
        return tuple(self._patches[row])

    def maps(self, row: int = 0, step: int | None = None) -> PromptMaps:
        """Give the maps by which the prompter goes on after a step, a user's points left aside.

        Args:
            row: Which image.
            step: How many of the prompter's steps to regard, from 0 to `steps`; by default all.

        Raises:
            OptionError: There is no such image or step.
        """
        step = self.steps if step is None else step
        episode = self._playing(row, step)
        srm_map = self._played[step].srm_logits[row].sigmoid()
        return PromptMaps(
            srm_map.cpu().numpy() if self.srm.learned else None,
            episode.similarity[row].cpu().numpy() if self.clip else None,
        )

    @torch.no_grad()
    def prediction(self, row: int = 0, step: int | None = None) -> Prediction:
        """Give the answer to the prompts on an image, a user's points among them.

        Args:
            row: Which image.
            step: How many of the prompter's steps to regard, from 0 to `steps`; by default all.

        Raises:
            OptionError: There is no such image or step.
        """
        step = self.steps if step is None else step
        episode = self._playing(row, step)
        given = episode.labels[row] != PADDING
        given[INITIAL_PROMPTS + step :] = False
        points_frame, labels = episode.points[row][given], episode.labels[row][given]
        answer, size = self._played[step].answers[row], self._sizes[row]
        points_px = frame_to_image(points_frame, self.rules.grid.image_size, size)
        own = self._user_points[row]
        if own:
            own_px = torch.tensor([(x, y) for x, y, _ in own], dtype=torch.float64)
            own_frame = image_to_frame(own_px, size, self.rules.grid.image_size)
            points_frame = torch.cat([points_frame, own_frame.to(points_frame)])
            points_px = torch.cat([points_px, own_px.to(points_px)])
            labels = torch.cat([labels, labels.new_tensor([int(positive) for *_, positive in own])])
            answer = self._answer_all(row, points_frame, labels)
        return Prediction(points_px.cpu().numpy(), labels.cpu().numpy(), answer.clone(), size)

    def disagreement(self, row: int = 0) -> float:
        """Tell how much the SRM's map and SAM's last mask of an image disagree, a user's points left aside.

        Returns:
            1 − IoU of the two, in [0, 1], at the resolution of SAM's logits.

        Raises:
            OptionError: There is no such image.
        """
        episode = self._playing(row)
        answers = episode.logits[row : row + 1]
        return 1 - float(agreement(answers, resize_map(episode.srm_logits[row : row + 1], answers.shape[-2:])))

    def _answer_all(self, row: int, points_frame: Tensor, labels: Tensor) -> Tensor:
        """The answer (4h, 4w) to these points on an image."""
        episode = self._playing()
        points_unit = frame_to_unit(points_frame, self.rules.grid.image_size)[None]
        logits = self.model.decode(episode.image, torch.tensor([row]), points_unit, labels[None])
        srm_logits = episode.srm_map(row, resize_map(logits.sigmoid(), episode.mask.shape[1:]))
        return episode.answer_of(logits, srm_logits)[0]

    def _playing(self, row: int = 0, step: int = 0) -> Episode:
        """Return the episode, once it is clear that it has such a row and step. Raises OptionError."""
        if self._episode is None:
            raise OptionError("There is no image to prompt yet: give one, session.set_image(image).")
        if not 0 <= row < len(self._sizes):
            raise OptionError(f"row={row}: the session's images are numbered from 0 to {len(self._sizes) - 1}.")
        if not 0 <= step <= self.steps:
            raise OptionError(f"step={step}: the session's steps so far are 0 to {self.steps}.")
        return self._episode

    def _resolve_text(self, text: str | None) -> str | None:
        if self.clip is None:
            if text is not None:
                raise OptionError(f"text={text!r}: this agent is guided by images alone; leave the text out.")
            return None
        chosen = text or self.text
        if not chosen:
            raise OptionError("This agent is guided by a text, which differed by image in its training: give text=….")
        return chosen


class UnlabelledImages:
    """Images without ground truth, as a data set whose masks are empty.

    Args:
        images: uint8 (H, W, 3) RGB each.
        text: What the target is called in all of them.
    """

    name = "images"

    def __init__(self, images: Sequence[np.ndarray] = (), text: str | None = None) -> None:
        self.images, self.text = images, text
        self.ids: Sequence[str] = [str(number) for number in range(len(images))]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        image = self.images[index]
        return Sample(self.ids[index], image, np.zeros(image.shape[:2], bool), text=self.text)


def read_pixels(image: ImageLike, intensity_range: IntensityRange) -> np.ndarray:
    """Return an image as uint8 (H, W, 3), RGB.

    Args:
        image: Of any kind.
        intensity_range: What to make of more than 8 bits in files and Pillow's images.

    Raises:
        DataError: It is none, or cannot be read.
    """
    if isinstance(image, str | Path):
        if not Path(image).exists():
            raise DataError(f"There is no file {image}.")
        if Path(image).is_dir():
            raise DataError(f"{image} is a folder: predict_many takes several images, such as those in it.")
        return read_image(Path(image), intensity_range)
    if isinstance(image, Image.Image):
        return rgb_of(image, intensity_range)
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise DataError(f"An image is an array uint8 (H, W, 3) in RGB, a Pillow image or a path, not {found}.")
    if not image.size:
        raise DataError(f"An image of {image.shape[0]} × {image.shape[1]} pixels has nothing to segment.")
    return image
