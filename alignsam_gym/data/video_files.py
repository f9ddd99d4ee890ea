"""Video files, read and written by OpenCV, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import cv2
import numpy as np

from alignsam_gym.errors import DataError

VIDEO_SUFFIXES = (
    ".mp4",
    ".m4v",
    ".mov",
    ".avi",
    ".mkv",
    ".webm",
    ".mpg",
    ".mpeg",
    ".wmv",
    ".flv",
    ".3gp",
    ".ts",
    ".mts",
)
"""Suffixes, in lower case, of the files that count as videos."""

FRAME_RATE = 24.0
"""Frames in a second where no file says, as in a folder of frames."""

_SHORT_BY = 0.1
"""How many of the stated frames may be missing before a video counts as torn: some containers state an estimate."""


def is_video(file: Path) -> bool:
    """Return whether a file counts as a video, by its suffix."""
    return file.suffix.lower() in VIDEO_SUFFIXES


def video_rate(file: Path) -> float:
    """Read a video's frames in a second; raise `DataError` if it cannot be opened."""
    with _opened(file) as capture:
        return float(capture.get(cv2.CAP_PROP_FPS)) or FRAME_RATE


def video_length(file: Path) -> int:
    """Read how many frames a video states, which may be an estimate; raise `DataError` if it cannot be opened."""
    with _opened(file) as capture:
        return max(0, round(capture.get(cv2.CAP_PROP_FRAME_COUNT)))


def read_video(file: Path) -> Iterator[np.ndarray]:
    """Read a video's frames, turned as it says: uint8 (H, W, 3) each, RGB.

    Raises:
        DataError: It cannot be opened, or breaks off.
    """
    stated, count = video_length(file), 0
    with _opened(file) as capture:
        while True:
            there, frame = capture.read()
            if not there:
                break
            count += 1
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    if not count or count < stated * (1 - _SHORT_BY):
        raise DataError(f"{file} breaks off after {count} of {stated} frames; is it torn?")


@contextmanager
def _opened(file: Path) -> Iterator[cv2.VideoCapture]:
    capture = cv2.VideoCapture(str(file.resolve()), cv2.CAP_FFMPEG)
    try:
        if not capture.isOpened():
            raise DataError(f"{file} cannot be read as a video; convert it to MP4, or name a folder of its frames.")
        yield capture
    finally:
        capture.release()


class VideoFile:
    """A video that is being written, as MPEG-4 in MP4. It appears under its name when it is whole.

    OpenCV's own encoders need no further package; none of them is H.264, which browsers want.

    Args:
        file: To write. Missing folders are made.
        rate: Frames in a second.
        size: Their height and width. Of an odd number of pixels, the last is left out.

    Raises:
        DataError: It cannot be written.
    """

    def __init__(self, file: Path, rate: float, size: tuple[int, int]) -> None:
        self.file, self.size, self._count = file, size, 0
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{file} cannot be written ({error.strerror}).") from error
        self._partial = file.parent / f"{uuid4().hex}.partial.mp4"
        codec = cv2.VideoWriter.fourcc(*"mp4v")
        self._writer = cv2.VideoWriter(str(self._partial), cv2.CAP_FFMPEG, codec, rate, size[::-1])
        if not self._writer.isOpened():
            self.discard()
            raise DataError(f"{file} cannot be written as a video of {size[1]}×{size[0]} pixels.")

    def write(self, picture: np.ndarray) -> None:
        """Add a frame, uint8 (H, W, 3) RGB, of the video's size."""
        self._writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        self._count += 1

    def save(self) -> None:
        """Finish the file; raise `DataError` if not all of it could be written."""
        self._writer.release()
        try:
            found = video_length(self._partial)  # OpenCV's writer tells nothing
        except DataError:
            found = 0
        if found != self._count:
            self.discard()
            raise DataError(f"{self.file} cannot be written; is the disk full?")
        self._partial.replace(self.file)

    def discard(self) -> None:
        """Leave nothing of the file."""
        self._writer.release()
        self._partial.unlink(missing_ok=True)
