"""Scores masks that any method has saved, so that it can stand in one table with the others.

python -m experiments.score predictions=outputs/train/<date>/predictions/agent dataset=shapes
python -m experiments.score predictions=masks/seem dataset=folder dataset.root=photos resize=true
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
from omegaconf import DictConfig
from rich.progress import track

from alignsam_gym.agents.trained_run import dataset_options
from alignsam_gym.atomic_write import write_atomically
from alignsam_gym.data import Dataset, Sample, load_dataset
from alignsam_gym.data.image_files import SUFFIXES
from alignsam_gym.data.image_listing import list_images
from alignsam_gym.data.mask_rule import MaskRule
from alignsam_gym.errors import DataError
from alignsam_gym.evaluation.score_threads import map_threads
from alignsam_gym.experiments.hydra_command import hydra_command
from alignsam_gym.metrics import AVERAGES, TITLES, MaskScores, MetricTotals, score_mask, table_metrics
from alignsam_gym.result_table import Cell, ResultTable, Strong

log = logging.getLogger(__name__)


@hydra_command("score")
def main(config: DictConfig) -> float:
    """Score a folder of predictions; returns the mean IoU over images."""
    name, options = dataset_options(config)
    dataset = load_dataset(name, config.split, config.on_error, **options)
    folder, output = Path(config.predictions), Path(config.output)
    files = find_predictions(folder, dataset, config.on_error)
    skipped = {name: "missing" for name in dataset.ids if name not in files}
    rule = MaskRule(config.threshold, foreground=config.foreground, prefix="")
    totals, rows = MetricTotals(), list[list[Cell]]()
    columns = ["id", "category"]
    for sample, scores in score_predictions(dataset, files, rule, config.resize, config.on_error, skipped):
        metrics = scores.metrics()
        columns[2:] = metrics
        rows.append([sample.id, sample.text or "", *(round(value, 6) for value in metrics.values())])
        totals.add(scores, sample.text)
    if not totals.images:
        first = ": ".join(next(iter(skipped.items())))
        raise DataError(f"Nothing in {folder} could be scored; the first trouble: {first}")
    summary = totals.summary()
    record = {
        "predictions": str(folder),
        "dataset": {"name": name, **options},
        "split": config.split,
        "images": totals.images,
        "skipped": skipped,
        "table": list(table_metrics(dataset.name)),
        "metrics": summary,
    }
    title = f"{folder}: {dataset.name}, {totals.images} images"
    for table in score_tables(summary, table_metrics(dataset.name), title):
        table.print()
    write_atomically(output / "scores.csv", ResultTable(columns, rows).to_csv().encode())
    write_atomically(output / "scores.json", json.dumps(record, indent=1).encode())
    if skipped:
        log.warning("%d of %d samples were skipped; scores.json says which, and why", len(skipped), len(dataset))
    log.info("all metrics are in %s, those of each image in %s", output / "scores.json", output / "scores.csv")
    return float(summary["over_images"]["iou"])


def find_predictions(folder: Path, dataset: Dataset, on_error: str) -> dict[str, Path]:
    """Find the prediction of each sample: the file of its name, without suffix, below a folder.

    Args:
        folder: Is searched, with its subfolders.
        dataset: Its ids are the names.
        on_error: ``skip`` leaves out samples without a file.

    Returns:
        Files by sample id.

    Raises:
        DataError: If there is no folder, or two files have one name; and, unless `on_error` is ``skip``, if a sample
            has no file.
    """
    wanted, files = set(dataset.ids), dict[str, Path]()
    for path, file in list_images(folder).items():
        name = PurePosixPath(path).with_suffix("").as_posix()
        if name in wanted:
            if name in files:
                raise DataError(f"{files[name]} and {file} have one name; keep one of them.")
            files[name] = file
    missing = [name for name in dataset.ids if name not in files]
    if missing and on_error == "raise":
        raise DataError(
            f"{folder} lacks {len(missing)} of the {len(dataset)} predictions for {dataset.name}: "
            f"{', '.join(missing[:3])}{', …' if len(missing) > 3 else ''}. A prediction is named as its sample, "
            f"{missing[0]}.({'|'.join(suffix[1:] for suffix in SUFFIXES)}); on_error=skip scores those that are there."
        )
    return files


def score_predictions(
    dataset: Dataset,
    files: Mapping[str, Path],
    rule: MaskRule,
    resize: bool,
    on_error: str,
    skipped: dict[str, str],
) -> Iterator[tuple[Sample, MaskScores]]:
    """Read and score predictions, several at once.

    Args:
        dataset: Has the ground truth.
        files: The prediction of each sample id; other samples are left out.
        rule: Reads the predictions.
        resize: Whether a prediction of another size than its image is scaled to it.
        on_error: ``skip`` leaves out what cannot be scored.
        skipped: Sample id -> reason; what is left out is added.

    Yields:
        A sample and its prediction's scores, in the data set's order.

    Raises:
        DataError: Unless `on_error` is ``skip``, if a file is unreadable, or of another size than its image.
    """

    def score(index: int) -> tuple[Sample, MaskScores] | DataError:
        name = dataset.ids[index]
        try:
            levels, sample = rule.read_levels(files[name]), dataset[index]
            levels = _at_image_size(levels, sample, files[name], resize)
            return sample, score_mask(levels, sample.mask, sample.void)
        except DataError as error:
            return error

    found = [index for index, name in enumerate(dataset.ids) if name in files]
    with closing(map_threads(score, found)) as results:
        for index, result in zip(found, track(results, "scoring", len(found)), strict=True):
            if not isinstance(result, DataError):
                yield result
            elif on_error == "raise":
                raise DataError(f"{dataset.ids[index]}: {result}") from result
            else:
                skipped[dataset.ids[index]] = str(result)


def _at_image_size(levels: np.ndarray, sample: Sample, file: Path, resize: bool) -> np.ndarray:
    height, width = sample.mask.shape
    if levels.shape == (height, width):
        return levels
    if not resize:
        raise DataError(
            f"{file} is {levels.shape[1]}×{levels.shape[0]}, its image {width}×{height}; save it at the image's size, "
            "or scale it with resize=true."
        )
    return cv2.resize(levels, (width, height), interpolation=cv2.INTER_LINEAR)


def score_tables(
    summary: Mapping[str, Mapping[str, Any]], main_metrics: Sequence[str], title: str
) -> list[ResultTable]:
    """Show every metric, and then IoU by category where there are categories.

    Args:
        summary: As of `MetricTotals.summary`.
        main_metrics: Those in bold.
        title: What was measured.
    """
    averages = [average for average in AVERAGES if average in summary]
    rows: list[list[Cell]] = []
    for name, metric_title in TITLES.items():
        values = [f"{summary[average][name]:.4f}" if name in summary[average] else "" for average in averages]
        row = [metric_title, *values]
        rows.append([Strong(text) for text in row] if name in main_metrics else list(row))
    tables = [ResultTable(["", *(f"over {AVERAGES[average]}" for average in averages)], rows, title)]
    if "by_category" in summary:
        ious = [[category, f"{metrics['iou']:.4f}"] for category, metrics in summary["by_category"].items()]
        tables.append(ResultTable(["category", TITLES["iou"]], ious, "IoU over the pixels of each category"))
    return tables


if __name__ == "__main__":
    main()
