"""Files of masks that a trained agent makes from files of images."""

from __future__ import annotations

import json
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from alignsam_gym.agents.pretrained import AlignSAM
from alignsam_gym.data.image_files import KINDS, IntensityRange, read_image, stated_size
from alignsam_gym.data.image_listing import list_images
from alignsam_gym.data.mask_files import write_file, write_mask, write_picture
from alignsam_gym.data.region_drawing import pycocotools_mask
from alignsam_gym.envs.prompting_session import Prediction
from alignsam_gym.envs.rendering import ANSWER_COLOUR, overlay
from alignsam_gym.errors import DataError, OptionError

log = logging.getLogger(__name__)

RLE_FILE = "predictions.json"

Write = Callable[[str, Path, Prediction], None]
"""Writes a prediction, called with the image's name and its file."""


def find_images(sources: Sequence[Path], outputs: Sequence[Path]) -> dict[str, Path]:
    """Find the images that `sources` are or hold, and name them by their paths below a source, without suffix.

    Files of one name keep their suffixes.

    Args:
        sources: Files and folders.
        outputs: Folders that predictions will be written to; what they hold already, below a source, is left out.

    Returns:
        Each image's file, by its name.

    Raises:
        OptionError: A photograph would be replaced by its own mask.
        DataError: There are no images, or two would still be called the same.
    """
    found = [named for source in sources for named in _below(source, outputs)]
    if not found:
        raise DataError(f"{', '.join(map(str, sources))} holds no {KINDS} file.")
    alike = Counter(path.with_suffix("") for path, _ in found)
    images: dict[str, Path] = {}
    for path, file in found:
        name = (path.with_suffix("") if alike[path.with_suffix("")] == 1 else path).as_posix()
        if name in images:
            raise DataError(f"{images[name]} and {file} would both be called {name}; take one folder after the other.")
        targets = (output / f"{name}.png" for output in outputs)
        if file.exists() and any(target.exists() and target.samefile(file) for target in targets):
            raise OptionError(f"{file} would be replaced by its own mask; write the predictions to another folder.")
        images[name] = file
    return images


def _below(source: Path, outputs: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Return the relative path and the file of each image that is not in `outputs`."""
    if not source.exists():
        raise DataError(f"There is no file or folder {source}.")
    if not source.is_dir():
        return [(Path(source.name), source)]
    base = source.resolve()
    inside = [output for output in map(Path.resolve, outputs) if base in output.parents]
    return [(Path(path), file) for path, file in list_images(source, without=inside).items()]


def predict_files(agent: AlignSAM, images: Mapping[str, Path], write: Write, text: str | None) -> tuple[int, list[str]]:
    """Predict and write every image that can be read.

    Args:
        agent: A trained one.
        images: Files by name.
        write: What to do with each prediction.
        text: What to look for, if a text guides the agent.

    Returns:
        How many were written, and what was wrong with each of the others.
    """
    skipped: list[str] = []
    waiting: deque[tuple[str, Path]] = deque()
    written = 0
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns) as progress:
        bar = progress.add_task("predicting", total=len(images))

        def readable() -> Iterator[np.ndarray]:
            for name, file in images.items():
                try:
                    pixels = read_image(file, agent.config.intensity_range)
                except DataError as error:
                    skipped.append(str(error))
                    progress.advance(bar)
                    continue
                waiting.append((name, file))
                yield pixels

        for prediction in agent.predict_many(readable(), text):
            write(*waiting.popleft(), prediction)
            written += 1
            progress.advance(bar)
    return written, skipped


def mask_writer(folder: Path) -> Write:
    """Write masks as PNG, 0 or 255, of the images' own size."""
    return lambda name, file, prediction: write_mask(folder, name, _at_own_size(prediction.mask, file))


def overlay_writer(folder: Path, intensity_range: IntensityRange) -> Write:
    """Write the images with their masks tinted, as PNG."""

    def write(name: str, file: Path, prediction: Prediction) -> None:
        write_picture(folder, name, overlay(read_image(file, intensity_range), prediction.mask, ANSWER_COLOUR))

    return write


class RleWriter:
    """Collects predictions for one JSON file in COCO's format of results, which `save` writes.

    Each entry has ``image_id``, the image's name; ``file_name``; ``category_id``, 1; ``segmentation``, a compressed
    RLE; and ``score``, the mean probability in the mask.

    Args:
        file: To write to.

    Raises:
        OptionError: The extra ``coco`` is not installed.
    """

    def __init__(self, file: Path) -> None:
        self.file, self._coco = file, pycocotools_mask()
        self._results: list[dict[str, Any]] = []

    def __call__(self, name: str, file: Path, prediction: Prediction) -> None:
        """Add the entry of an image."""
        mask = _at_own_size(prediction.mask, file)
        rle = self._coco.encode(np.asfortranarray(mask, dtype=np.uint8))
        score = float(prediction.probability[prediction.mask].mean()) if prediction.mask.any() else 0.0
        segmentation = {"size": list(mask.shape), "counts": rle["counts"].decode("ascii")}
        self._results.append(
            {"image_id": name, "file_name": file.name, "category_id": 1, "segmentation": segmentation, "score": score}
        )

    def save(self) -> None:
        """Write the file."""
        write_file(self.file, json.dumps(self._results).encode())


def _at_own_size(mask: np.ndarray, file: Path) -> np.ndarray:
    """Bring the mask of a very large image, which was read at a reduced size, to the size of its file."""
    width, height = stated_size(file)
    if mask.shape == (height, width):
        return mask
    return cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST).astype(bool)
