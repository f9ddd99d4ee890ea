"""The images that a trained agent is to predict: what a user's files and folders hold."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from alignsam_gym.data.image_files import KINDS, IntensityRange, count_pages, read_image, stated_size
from alignsam_gym.data.image_listing import list_images
from alignsam_gym.data.video_files import FRAME_RATE, is_video, read_video, video_length, video_rate
from alignsam_gym.errors import DataError, OptionError


@dataclass(frozen=True)
class Frame:
    """One image to predict: a file, a page of a TIFF stack, or a frame of a video.

    Attributes:
        name: What its mask is called, without suffix. It may have folders in it.
        path: Its own path below a source, with suffix; ``clip/000012.png`` for the 12th frame, from 0, of ``clip.mp4``.
        size: Its height and width in its file. A very large one is read at a reduced size.
        read: Reads it, uint8 (H, W, 3) RGB.
        sequence: What a video of it and its neighbours is called: its file's name if that has several frames, else that
            of its folder.
        origin: Where these are: that file, or that folder.
        rate: Frames of that video in a second.
    """

    name: str
    path: str
    size: tuple[int, int]
    read: Callable[[], np.ndarray]
    sequence: str
    origin: Path
    rate: float = FRAME_RATE


@dataclass(frozen=True)
class SourceFile:
    """A file of a user's.

    Attributes:
        name: What its masks are called: its path below a source, without suffix unless another file has the same.
        path: Its path below a source.
        file: Where it is.
        folder: What the folder that it lies in is called: its path below a source, or the source's own name.
    """

    name: str
    path: str
    file: Path
    folder: str

    def frames(self, intensity_range: IntensityRange) -> Iterator[Frame]:
        """Read what there is to predict, one after the other: the image, or each page or frame.

        Raises:
            DataError: The file cannot be read, or breaks off.
        """
        if is_video(self.file):
            rate = video_rate(self.file)
            for number, pixels in enumerate(read_video(self.file)):
                yield self._part(number, (pixels.shape[0], pixels.shape[1]), partial(np.asarray, pixels), rate)
            return
        pages = count_pages(self.file)
        if pages == 1:
            width, height = stated_size(self.file)
            read = partial(read_image, self.file, intensity_range)
            yield Frame(self.name, self.path, (height, width), read, self.folder, self.file.resolve().parent)
            return
        for page in range(pages):
            width, height = stated_size(self.file, page)
            yield self._part(page, (height, width), partial(read_image, self.file, intensity_range, page))

    def count(self) -> int:
        """How many frames there are, as the file says; raises DataError."""
        return video_length(self.file) if is_video(self.file) else count_pages(self.file)

    def _part(
        self, number: int, size: tuple[int, int], read: Callable[[], np.ndarray], rate: float = FRAME_RATE
    ) -> Frame:
        name = f"{self.name}/{number:06d}"
        return Frame(name, f"{name}.png", size, read, self.name, self.file, rate)


def find_sources(sources: Sequence[Path], outputs: Sequence[Path]) -> list[SourceFile]:
    """Find the files that `sources` are or hold, in the order of their paths, in which 10 comes after 9.

    Args:
        sources: Images, videos, and folders of images.
        outputs: Folders that predictions will be written to; what they hold already, below a source, is left out.

    Raises:
        OptionError: A file would be replaced by its own prediction, or predictions would lie among a source's images.
        DataError: There are no files, or two would be called the same.
    """
    found = [named for source in sources for named in sorted(_below(source, outputs), key=_by_numbers)]
    if not found:
        raise DataError(f"{', '.join(map(str, sources))} holds no {KINDS} file. (A video is to be named itself.)")
    alike = Counter(path.with_suffix("") for path, _ in found)
    files: dict[str, SourceFile] = {}
    for path, file in found:
        name = (path.with_suffix("") if alike[path.with_suffix("")] == 1 else path).as_posix()
        if name in files:
            raise DataError(f"{files[name].file} and {file} would both be called {name}; take one after the other.")
        targets = (output / f"{name}{suffix}" for output in outputs for suffix in (".png", ".mp4"))
        if file.exists() and any(target.exists() and target.samefile(file) for target in targets):
            raise OptionError(
                f"{file} would be replaced by its own prediction; write the predictions to another folder."
            )
        folder = path.parent.as_posix() if path.parent.name else file.resolve().parent.name
        files[name] = SourceFile(name, path.as_posix(), file, folder)
    for source in sources:
        if source.is_dir() and source.resolve() in map(Path.resolve, outputs):
            raise OptionError(
                f"Predictions among the images of {source} would be taken for images next time; write them to another "
                "folder."
            )
    return list(files.values())


def _below(source: Path, outputs: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Return the relative path and the file of each image that is not in `outputs`."""
    if not source.exists():
        raise DataError(f"There is no file or folder {source}.")
    if not source.is_dir():
        return [(Path(source.name), source)]
    base = source.resolve()
    inside = [output for output in map(Path.resolve, outputs) if base in output.parents]
    return [(Path(path), file) for path, file in list_images(source, without=inside).items()]


def _by_numbers(named: tuple[Path, Path]) -> list[list[str | int]]:
    """The key of an order in which files of one folder stand together, and numbers count as such."""
    path = named[0]
    words = (re.split(r"(\d+)", word) for word in (path.parent.as_posix(), path.name))
    return [[int(part) if part.isdecimal() else part for part in parts] for parts in words]
