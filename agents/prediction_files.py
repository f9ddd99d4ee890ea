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
        overwrite: Whether files that were there before are replaced (True) or stay, and their images are left alone
            (False). With None they are an error.

    Attributes:
        place: Where the predictions are, for the user.

    Raises:
        OptionError: The folder is a file.
    """

    def __init__(self, folder: Path, overwrite: bool | None = None) -> None:
        if folder.exists() and not folder.is_dir():
            raise OptionError(f"--out {folder} is a file; name a folder.")
        self.folder = self.place = folder
        self._overwrite = overwrite
        self._written: dict[Path, str] = {}

    def file_of(self, frame: Frame) -> Path:
        """Return where a frame's prediction is written."""
        return self.folder / f"{frame.name}.png"

    def leaves(self, frame: Frame) -> bool:
        """Return whether a frame is left alone, because its prediction was there before."""
        return self._overwrite is False and self.file_of(frame).exists()

    def check(self, frame: Frame) -> None:
        """Raise, before anything is predicted, what `write` would raise for a file's first frame."""
        self._check_free(self.file_of(frame))

    def write(self, frame: Frame, prediction: Prediction) -> None:
        """Write or collect a prediction.

        Raises:
            DataError: The prediction of another frame has the same file.
            OptionError: The file was there before, and is not to be replaced.
        """
        self._claim(self.file_of(frame), frame.path)
        write_mask(self.folder, frame.name, resize_nearest(prediction.mask, frame.size))

    def _claim(self, file: Path, path: str) -> None:
        """Keep a file for the prediction of the frame at `path`; raises as `write` does."""
        if file in self._written:
            raise DataError(f"The predictions of {self._written[file]} and {path} would both be {file}.")
        self._check_free(file)
        self._written[file] = path

    def _check_free(self, file: Path) -> None:
        if self._overwrite is None and file.exists():
            raise OptionError(
                f"{file} is there already; write to another folder, or replace it: --overwrite. --skip-existing leaves "
                "alone the images whose predictions are there."
            )

    def finish(self) -> None:
        """Write what was collected, after the last prediction."""

    def close(self) -> None:
        """Leave no unfinished file, after `finish` or a failure."""


class OverlayWriter(PredictionWriter):
    """Writes the images with their masks tinted, as PNG."""

    def write(self, frame: Frame, prediction: Prediction) -> None:
        """Write a picture; raises as `PredictionWriter.write` does."""
        self._claim(self.file_of(frame), frame.path)
        write_picture(self.folder, frame.name, overlay(frame.read(), prediction.mask, ANSWER_COLOUR))


class ProbabilityWriter(PredictionWriter):
    """Writes the probability of each pixel as 8-bit grey PNG of the images' own sizes, 255 for 1."""

    def write(self, frame: Frame, prediction: Prediction) -> None:
        """Write a map of grey levels; raises as `PredictionWriter.write` does."""
        self._claim(self.file_of(frame), frame.path)
        levels = np.rint(prediction.probability * 255).astype(np.uint8)
        write_picture(self.folder, frame.name, resize_image(levels, frame.size))


class VideoWriter(PredictionWriter):
    """Writes masks as PNG, and the images with their masks tinted as a video of each sequence, ``<sequence>.mp4``.

    The pictures' longer side is at most `LONGEST_SIDE`.

    Args:
        folder: To write to.
        overwrite: Whether files that were there before are replaced.
    """

    def __init__(self, folder: Path, overwrite: bool | None = None) -> None:
        super().__init__(folder, overwrite)
        self._origin: Path | None = None
        self._current: VideoFile | None = None
        self._sizes: dict[Path, tuple[int, int]] = {}

    def check(self, frame: Frame) -> None:
        """Raise as `write` does, for sizes that a folder's images state, too."""
        super().check(frame)
        self._check_free(self._video_of(frame))
        size = _video_size(frame.size)
        _check_size(frame, size, self._sizes.setdefault(frame.origin, size))

    def write(self, frame: Frame, prediction: Prediction) -> None:
        """Write a mask, and add a picture to the video.

        Raises:
            DataError: A sequence has frames of several sizes, or a file is another's.
            OptionError: A file was there before, and is not to be replaced.
        """
        super().write(frame, prediction)
        image, mask = frame.read(), prediction.mask
        size = _video_size((image.shape[0], image.shape[1]))
        picture = overlay(resize_image(image, size), resize_nearest(mask, size), ANSWER_COLOUR)
        video = self._current
        if video is None or frame.origin != self._origin:
            self.finish()
            file = self._video_of(frame)
            self._claim(file, str(frame.origin))
            video = self._current = VideoFile(file, frame.rate, size)
            self._origin = frame.origin
        _check_size(frame, size, video.size)
        video.write(picture)

    def _video_of(self, frame: Frame) -> Path:
        return self.folder / f"{frame.sequence}.mp4"

    def finish(self) -> None:
        """Finish the video that is being written."""
        if self._current:
            self._current.save()
            self._current = None

    def close(self) -> None:
        """Leave no unfinished video."""
        if self._current:
            self._current.discard()


def _video_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return the height and width in a video of an image of the given ones."""
    factor = min(1.0, LONGEST_SIDE / max(size))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def _check_size(frame: Frame, size: tuple[int, int], first: tuple[int, int]) -> None:
    if size != first:
        raise DataError(
            f"{frame.path} is of {size[1]}×{size[0]} pixels, the first frame of {frame.sequence} of "
            f"{first[1]}×{first[0]}, so they are no video; --format overlay takes any images."
        )


class CocoWriter(PredictionWriter):
    """Collects predictions for one JSON file of COCO's kind; see `CocoExport`.

    Args:
        folder: To write to.
        overwrite: Whether a file that was there before is replaced.
        category: What the masks show.

    Raises:
        OptionError: The extra ``coco`` is not installed, or the file is not to be replaced.
    """

    def __init__(self, folder: Path, overwrite: bool | None, category: str) -> None:
        super().__init__(folder, overwrite)
        self.place = folder / COCO_FILE
        self._claim(self.place, COCO_FILE)
        self._export = CocoExport(category)

    def check(self, frame: Frame) -> None:
        """Raise nothing: there is one file, which is checked before."""

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
        overwrite: What becomes of labels that were there before, as for `PredictionWriter`.
        category: What the masks show.
        scores: Whether each line ends with the prediction's score.

    Raises:
        OptionError: The folder has another ``data.yaml``.
    """

    def __init__(self, folder: Path, overwrite: bool | None, category: str, scores: bool) -> None:
        super().__init__(folder, overwrite)
        self._scores = scores
        self._names = yaml.safe_dump({"names": {0: category}}, allow_unicode=True).encode()
        file = folder / YOLO_NAMES
        if file.is_file() and file.read_bytes() != self._names:
            raise OptionError(f"{file} belongs to other labels; write the predictions to another folder.")

    def file_of(self, frame: Frame) -> Path:
        """Return where a frame's labels are written."""
        return self.folder / "labels" / f"{frame.name}.txt"

    def write(self, frame: Frame, prediction: Prediction) -> None:
        """Write an image's labels; of an empty mask, an empty file. Raises as `PredictionWriter.write` does."""
        file = self.file_of(frame)
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
        left: How many frames were left alone, as their predictions were there before.
        skipped: What was wrong with each of the other files.
    """

    files: int = 0
    frames: int = 0
    left: int = 0
    skipped: list[str] = field(default_factory=list)


def prediction_writer(
    format: str, folder: Path, overwrite: bool | None = None, category: str | None = None, text: str | None = None
) -> PredictionWriter:
    """Make the writer of a format.

    Args:
        format: ``mask``, ``probability``, ``overlay``, ``video``, ``coco``, ``yolo`` or ``yolo-scores``.
        folder: To write to.
        overwrite: What becomes of files that were there before, as for `PredictionWriter`.
        category: What the target is called in COCO's and YOLO's files; by default `text`, or else ``target``.
        text: What the agent looks for, if a text guides it.

    Raises:
        OptionError: An option is for another format, an extra is not installed, or a file is not to be replaced.
    """
    if overwrite is False and format in ("coco", "video"):
        raise OptionError(f"--skip-existing is for a file of each image; --format {format} puts several into one.")
    if category is not None and format in ("mask", "probability", "overlay", "video"):
        raise OptionError(f"--category is for --format coco and yolo; --format {format} names no categories.")
    name = category or text or "target"
    match format:
        case "probability":
            return ProbabilityWriter(folder, overwrite)
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
        OptionError: A file that is there already is not to be replaced. Of the files' first frames this is told before
            anything is predicted.
    """
    _check_first_frames(files, writer)
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
                        if writer.leaves(frame):
                            outcome.left += 1
                            progress.advance(bar)
                            continue
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
        if outcome.frames or outcome.left:
            writer.finish()
    if not outcome.frames and not outcome.left:
        raise DataError(f"None of {len(files)} files could be read: {outcome.skipped[0]}")
    return outcome


def _check_first_frames(files: Sequence[SourceFile], writer: PredictionWriter) -> None:
    for source in files:
        try:
            frame = next(source.frames("auto"), None)
        except DataError:
            continue  # it is told with the others that cannot be read
        if frame:
            writer.check(frame)
