"""Files of masks that a trained agent makes from files of images and videos."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from alignsam_gym.agents.prediction_sources import Frame, SourceFile
from alignsam_gym.agents.pretrained import AlignSAM
from alignsam_gym.data.annotation_export import CocoExport, yolo_label
from alignsam_gym.data.mask_files import write_file, write_mask, write_picture
from alignsam_gym.data.stored_mask import resize_nearest
from alignsam_gym.data.video_files import VideoFile
from alignsam_gym.envs.prompting_session import Prediction
from alignsam_gym.envs.rendering import ANSWER_COLOUR, overlay
from alignsam_gym.errors import DataError, OptionError
from alignsam_gym.transforms import resize_image

LONGEST_SIDE = 1920
"""Of a video's pictures, in pixels."""
COCO_FILE = "annotations.json"
YOLO_NAMES = "data.yaml"


class PredictionWriter:
    """Writes predictions below a folder: masks as PNG, 0 or 255, of the images' own sizes.

    Args:
        folder: To write to.
        overwrite: Whether files that were there before may be replaced.

    Attributes:
        place: Where the predictions are, for the user.
    """

    def __init__(self, folder: Path, overwrite: bool = False) -> None:
        self.folder = self.place = folder
        self._overwrite = overwrite
        self._written: dict[Path, str] = {}

    def write(self, frame: Frame, prediction: Prediction) -> None:
        """Write or collect a prediction.

        Raises:
            DataError: The prediction of another frame has the same file.
            OptionError: The file was there before, and is not to be replaced.
        """
        self._claim(self.folder / f"{frame.name}.png", frame.path)
        write_mask(self.folder, frame.name, resize_nearest(prediction.mask, frame.size))

    def _claim(self, file: Path, path: str) -> None:
        """Keep a file for the prediction of the frame at `path`; raises as `write` does."""
        if file in self._written:
            raise DataError(f"The predictions of {self._written[file]} and {path} would both be {file}.")
        if file.exists() and not self._overwrite:
            raise OptionError(f"{file} is there already; write to another folder, or replace it: --overwrite.")
        self._written[file] = path

    def finish(self) -> None:
        """Write what was collected, after the last prediction."""

    def close(self) -> None:
        """Leave no unfinished file, after `finish` or a failure."""


class OverlayWriter(PredictionWriter):
    """Writes the images with their masks tinted, as PNG."""

    def write(self, frame: Frame, prediction: Prediction) -> None:
        """Write a picture; raises as `PredictionWriter.write` does."""
        self._claim(self.folder / f"{frame.name}.png", frame.path)
        write_picture(self.folder, frame.name, overlay(frame.read(), prediction.mask, ANSWER_COLOUR))


class VideoWriter(PredictionWriter):
    """Writes masks as PNG, and the images with their masks tinted as a video of each sequence, ``<sequence>.mp4``.

    The pictures' longer side is at most `LONGEST_SIDE`.

    Args:
        folder: To write to.
        overwrite: Whether files that were there before may be replaced.
    """

    def __init__(self, folder: Path, overwrite: bool = False) -> None:
        super().__init__(folder, overwrite)
        self._origin: Path | None = None
        self._current: VideoFile | None = None

    def write(self, frame: Frame, prediction: Prediction) -> None:
        """Write a mask, and add a picture to the video.

        Raises:
            DataError: A sequence has frames of several sizes, or a file is another's.
            OptionError: A file was there before, and is not to be replaced.
        """
        super().write(frame, prediction)
        image, mask = frame.read(), prediction.mask
        factor = min(1.0, LONGEST_SIDE / max(image.shape))
        size = (max(1, round(image.shape[0] * factor)), max(1, round(image.shape[1] * factor)))
        picture = overlay(resize_image(image, size), resize_nearest(mask, size), ANSWER_COLOUR)
        video = self._current
        if video is None or frame.origin != self._origin:
            self.finish()
            file = self.folder / f"{frame.sequence}.mp4"
            self._claim(file, str(frame.origin))
            video = self._current = VideoFile(file, frame.rate, size)
            self._origin = frame.origin
        if size != video.size:
            raise DataError(
                f"{frame.path} is of {size[1]}×{size[0]} pixels, the first frame of {frame.sequence} of "
                f"{video.size[1]}×{video.size[0]}, so they are no video; --format overlay takes any images."
            )
        video.write(picture)

    def finish(self) -> None:
        """Finish the video that is being written."""
        if self._current:
            self._current.save()
            self._current = None

    def close(self) -> None:
        """Leave no unfinished video."""
        if self._current:
            self._current.discard()


class CocoWriter(PredictionWriter):
    """Collects predictions for one JSON file of COCO's kind; see `CocoExport`.

    Args:
        folder: To write to.
        overwrite: Whether a file that was there before may be replaced.
        category: What the masks show.

    Raises:
        OptionError: The extra ``coco`` is not installed, or the file is not to be replaced.
    """

    def __init__(self, folder: Path, overwrite: bool, category: str) -> None:
        super().__init__(folder, overwrite)
        self.place = folder / COCO_FILE
        self._claim(self.place, COCO_FILE)
        self._export = CocoExport(category)

    def write(self, frame: Frame, prediction: Prediction) -> None:
        """Collect a mask with its score."""
        self._export.add(frame.path, resize_nearest(prediction.mask, frame.size), prediction.score)

    def finish(self) -> None:
        """Write the file."""
        self._export.save(self.place)


class YoloWriter(PredictionWriter):
    """Writes YOLO's labels for segmentation, ``labels/a.txt`` for ``a.jpg``, and the category's name in ``data.yaml``.

    Args:
        folder: To write to.
        overwrite: Whether labels that were there before may be replaced.
        category: What the masks show.
        scores: Whether each line ends with the prediction's score.

    Raises:
        OptionError: The folder has another ``data.yaml``.
    """

    def __init__(self, folder: Path, overwrite: bool, category: str, scores: bool) -> None:
        super().__init__(folder, overwrite)
        self._scores = scores
        self._names = yaml.safe_dump({"names": {0: category}}, allow_unicode=True).encode()
        file = folder / YOLO_NAMES
        if file.is_file() and file.read_bytes() != self._names:
            raise OptionError(f"{file} belongs to other labels; write the predictions to another folder.")

    def write(self, frame: Frame, prediction: Prediction) -> None:
        """Write an image's labels; of an empty mask, an empty file. Raises as `PredictionWriter.write` does."""
        file = self.folder / "labels" / f"{frame.name}.txt"
        self._claim(file, frame.path)
        label = yolo_label(resize_nearest(prediction.mask, frame.size), prediction.score if self._scores else None)
        write_file(file, label.encode())

    def finish(self) -> None:
        """Write the category's name."""
        write_file(self.folder / YOLO_NAMES, self._names)


@dataclass
class Outcome:
    """What has become of the files.

    Attributes:
        files: How many could be read to their ends.
        frames: How many predictions were written.
        skipped: What was wrong with each of the other files.
    """

    files: int = 0
    frames: int = 0
    skipped: list[str] = field(default_factory=list)


def prediction_writer(
    format: str, folder: Path, overwrite: bool = False, category: str | None = None, text: str | None = None
) -> PredictionWriter:
    """Make the writer of a format.

    Args:
        format: ``mask``, ``overlay``, ``video``, ``coco``, ``yolo`` or ``yolo-scores``.
        folder: To write to.
        overwrite: Whether files that were there before may be replaced.
        category: What the target is called in COCO's and YOLO's files; by default `text`, or else ``target``.
        text: What the agent looks for, if a text guides it.

    Raises:
        OptionError: An option is for another format, an extra is not installed, or a file is not to be replaced.
    """
    if category is not None and format in ("mask", "overlay", "video"):
        raise OptionError(f"--category is for --format coco and yolo; --format {format} names no categories.")
    name = category or text or "target"
    match format:
        case "overlay":
            return OverlayWriter(folder, overwrite)
        case "video":
            return VideoWriter(folder, overwrite)
        case "coco":
            return CocoWriter(folder, overwrite, name)
        case "yolo" | "yolo-scores":
            return YoloWriter(folder, overwrite, name, scores=format == "yolo-scores")
    return PredictionWriter(folder, overwrite)


def predict_files(agent: AlignSAM, files: Sequence[SourceFile], writer: PredictionWriter, text: str | None) -> Outcome:
    """Predict and write every image, page and frame that can be read, each for itself.

    Beginning a frame of a video from the prompts of the frame before does not segment better.

    Args:
        agent: A trained one.
        files: What to predict.
        writer: Gets each prediction.
        text: What to look for, if a text guides the agent.

    Raises:
        DataError: None could be read, or two predictions would have one file.
        OptionError: A file that is there already is not to be replaced.
    """
    outcome = Outcome()
    waiting: deque[Frame] = deque()
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns) as progress, closing(writer):
        bar = progress.add_task("predicting", total=len(files))

        def readable() -> Iterator[np.ndarray]:
            total = len(files)
            for source in files:
                try:
                    total += source.count() - 1
                    progress.update(bar, total=total)
                    for frame in source.frames(agent.config.intensity_range):
                        pixels = frame.read()
                        waiting.append(frame)
                        yield pixels
                    outcome.files += 1
                except DataError as error:
                    outcome.skipped.append(str(error))
                    progress.advance(bar)

        for prediction in agent.predict_many(readable(), text):
            writer.write(waiting.popleft(), prediction)
            outcome.frames += 1
            progress.advance(bar)
        if outcome.frames:
            writer.finish()
    if not outcome.frames:
        raise DataError(f"None of {len(files)} files could be read: {outcome.skipped[0]}")
    return outcome
