"""Scores masks that any method has saved, so that it can stand in one table with the others.

python -m experiments.score predictions=outputs/train/<date>/predictions/agent dataset=shapes
python -m experiments.score predictions=masks/seem dataset=folder dataset.root=photos resize=true
"""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path

import cv2
import hydra
import numpy as np
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import track
from rich.table import Table

from alignsam_gym.agents.trained_run import dataset_options
from alignsam_gym.atomic_write import write_atomically
from alignsam_gym.data import Dataset, Sample, load_dataset
from alignsam_gym.data.image_files import SUFFIXES
from alignsam_gym.data.mask_files import read_levels
from alignsam_gym.errors import DataError
from alignsam_gym.experiments.run_folder import exit_on_user_error
from alignsam_gym.metrics import AVERAGES, TITLES, MaskScores, MetricTotals, score_mask, table_metrics

log = logging.getLogger(__name__)


@hydra.main(version_base="1.3", config_path="../conf", config_name="score")
@exit_on_user_error
def main(config: DictConfig) -> float:
    """Returns the mean IoU over images."""
    name, options = dataset_options(config)
    dataset = load_dataset(name, config.split, config.on_error, **options)
    folder, output = Path(config.predictions), Path(config.output)
    files = find_predictions(folder, dataset, config.on_error)
    totals, table = MetricTotals(), StringIO()
    rows = csv.writer(table)
    skipped = {name: "missing" for name in dataset.ids if name not in files}
    for sample, scores in score(dataset, files, config.resize, config.on_error, skipped):
        figures = scores.metrics()
        if not totals.images:
            rows.writerow(["id", "category", *figures])
        rows.writerow([sample.id, sample.text, *(round(figure, 6) for figure in figures.values())])
        totals.add(scores, sample.text)
    if not totals.images:
        first = ": ".join(next(iter(skipped.items())))
        raise DataError(f"Nothing in {folder} could be valid; the first trouble: {first}")
    metrics = totals.summary()
    record = {
        "predictions": str(folder), "dataset": {"name": name, **options}, "split": config.split,
        "images": totals.images, "skipped": skipped, "table": list(table_metrics(dataset.name)), "metrics": metrics,
    }  # fmt: skip
    write_atomically(output / "scores.csv", table.getvalue().encode())
    write_atomically(output / "scores.json", json.dumps(record, indent=1).encode())
    print_scores(metrics, table_metrics(dataset.name), f"{folder}: {dataset.name}, {totals.images} images")
    if skipped:
        log.warning("%d of %d samples were skipped; scores.json says which, and why", len(skipped), len(dataset))
    log.info("all figures are in %s, those of each image in %s", output / "scores.json", output / "scores.csv")
    return float(metrics["over_images"]["iou"])


def find_predictions(folder: Path, dataset: Dataset, on_error: str) -> dict[str, Path]:
    """Sample id -> the file of that name, without suffix, below `folder`.

    Raises DataError for a missing folder, two files of one name, and, unless `on_error` is ``skip``, samples without
    a file.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}.")
    wanted, files = set(dataset.ids), dict[str, Path]()
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).with_suffix("").as_posix()
        if file.suffix.lower() in SUFFIXES and name in wanted:
            if name in files:
                raise DataError(f"{files[name]} and {file} have one name; keep one of them.")
            files[name] = file
    missing = [name for name in dataset.ids if name not in files]
    if missing and on_error == "raise":
        raise DataError(
            f"{folder} lacks {len(missing)} of the {len(dataset)} predictions for {dataset.name}: "
            f"{', '.join(missing[:3])}{', …' if len(missing) > 3 else ''}. A prediction is named as its sample, "
            f"{missing[0]}.(png|jpg|jpeg|bmp); on_error=skip scores those that are there."
        )
    return files


def score(
    dataset: Dataset, files: dict[str, Path], resize: bool, on_error: str, skipped: dict[str, str]
) -> Iterator[tuple[Sample, MaskScores]]:
    """Samples and their predictions' scores, one after another; what is skipped is added to `skipped` with its reason.

    Raises DataError, unless `on_error` is ``skip``, for an unreadable file and one of another size than its image.
    """
    faint = valid = 0
    for index in track([i for i, name in enumerate(dataset.ids) if name in files], "scoring"):
        file = files[dataset.ids[index]]
        try:
            levels, sample = read_levels(file), dataset[index]
            scores = score_mask(_fit(levels, sample, file, resize), sample.mask, sample.void)
        except DataError as error:
            if on_error == "raise":
                raise DataError(f"{dataset.ids[index]}: {error}") from error
            skipped[dataset.ids[index]] = str(error)
            continue
        valid += 1
        faint += bool(levels.max() == 1)
        yield sample, scores
    if faint:
        log.warning(
            "%d of %d predictions have levels 0 and 1 only, of 255, so they count as empty: if these are masks, "
            "write them as 0 and 255", faint, valid,
        )  # fmt: skip


def _fit(levels: np.ndarray, sample: Sample, file: Path, resize: bool) -> np.ndarray:
    (height, width), (h, w) = sample.mask.shape, levels.shape
    if (h, w) == (height, width):
        return levels
    if not resize:
        raise DataError(
            f"{file} is {w}×{h}, its image {width}×{height}; save it at the image's size, or scale it with resize=true."
        )
    return cv2.resize(levels, (width, height), interpolation=cv2.INTER_LINEAR)


def print_scores(metrics: dict[str, dict], paper: Sequence[str], title: str) -> None:
    """Every figure as a row, by what it is a mean over; those in `paper` in bold. Then IoU by category."""
    averages = [average for average in AVERAGES if average in metrics]
    table = Table("", *(f"over {AVERAGES[average]}" for average in averages), title=title)
    for name, words in TITLES.items():
        figures = [f"{metrics[average][name]:.4f}" if name in metrics[average] else "" for average in averages]
        table.add_row(words, *figures, style="bold" if name in paper else None)
    Console().print(table)
    if categories := metrics.get("by_category"):
        table = Table("category", TITLES["iou"], title="IoU over the pixels of each category")
        for category, figures_of in categories.items():
            table.add_row(category, f"{figures_of['iou']:.4f}")
        Console().print(table)


if __name__ == "__main__":
    main()
