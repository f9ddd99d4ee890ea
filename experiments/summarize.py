"""One table over several runs of one configuration: means, spreads over seeds, and intervals.

python -m experiments.train -m seed=0,1,2 hydra.sweep.dir=runs/shapes
python -m experiments.summarize runs=runs/shapes
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, ListConfig

from alignsam_gym.atomic_write import write_atomically
from alignsam_gym.errors import DataError, check_count
from alignsam_gym.evaluation.intervals import shown_interval, shown_mean
from alignsam_gym.evaluation.prompting_tables import shown_steps
from alignsam_gym.experiments.hydra_command import hydra_command
from alignsam_gym.experiments.report.found_runs import FoundRun, differences, finished_folders, grouped, read_run
from alignsam_gym.metrics import heading, shown_metrics
from alignsam_gym.result_table import Cell, ResultTable, Strong


@hydra_command("summarize")
def main(config: DictConfig) -> None:
    """Print the tables as Markdown, and write them to a file if one is named."""
    check_count("resamples", config.resamples, "an interval needs at least one")
    places = config.runs if isinstance(config.runs, ListConfig) else [config.runs]
    tables = summary_tables(read_runs(finished_folders([Path(place) for place in places])), config.resamples)
    text = "\n\n".join(table.to_markdown() for table in tables)
    print(text)
    if config.output:
        write_atomically(Path(config.output), f"{text}\n".encode())


def read_runs(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Read what the folders' ``metrics.json`` hold.

    Raises:
        DataError: If a file is damaged, or if the runs do not measure the same, of one configuration.
    """
    found = [read_run(folder) for folder in folders]
    runs = [dict(run.metrics or {}) for run in found]
    for folder, run in zip(folders, runs, strict=True):
        for here, first in zip(_measured(run), _measured(runs[0]), strict=True):
            if here != first:
                raise DataError(
                    f"{folder} measures {here}, but {folders[0]} {first}: name runs of one configuration, or of one "
                    "method."
                )
    _check_one_configuration(found)
    return runs


def _measured(run: dict[str, Any]) -> list[str]:
    """Say in words what a run measured. Runs that may be averaged say all the same."""
    summaries = run["prompting"]
    images = _first(run)["images"]
    prompts, averages = [], []
    for name, summary in summaries.items():
        prompts.append(f"{name} with {len(summary.get('miou_by_step', ())) - 1} prompts")
        averages += [average for average in summary.get("metrics", ()) if average not in averages]
    return [
        ", ".join(summaries),
        f"{images} {run.get('split', 'test')} images of {run.get('measured_on', 'a data set')}",
        ", ".join(prompts),
        ", ".join([*run.get("table", ()), *averages]),
    ]


def _check_one_configuration(runs: Sequence[FoundRun]) -> None:
    groups = grouped(runs)
    if len(groups) <= 1:
        return
    parts = []
    for group, different in zip(groups, differences(groups), strict=True):
        parts.append(f"{group.runs[0].folder}: {' '.join(different) or 'as most'}")
    raise DataError(
        f"These runs are of {len(groups)} configurations, not of one with several seeds. {'; '.join(parts)}. Name the "
        "runs of one; `alignsam report` shows several beside each other."
    )


def summary_tables(runs: Sequence[dict[str, Any]], resamples: int) -> list[ResultTable]:
    """Make the tables below; that of categories only where all runs have several.

    Args:
        runs: What their ``metrics.json`` hold.
        resamples: Of each interval.
    """
    tables = [prompting_summary(runs, resamples), final_metrics(runs)]
    if all("by_category" in _first(run).get("metrics", {}) for run in runs):
        tables.append(category_ious(runs))
    return tables


def prompting_summary(runs: Sequence[dict[str, Any]], resamples: int) -> ResultTable:
    """Show mIoU, FR and repeated patches, a row for each prompting strategy.

    mIoU is the mean over runs and images, ± the sample standard deviation of the runs' means, with the interval of
    `intervals.interval`; the advantage over random prompting is paired by run and image. A method that does not
    prompt step by step has neither steps nor FR.
    """
    names = list(runs[0]["prompting"])
    lasts = {len(runs[0]["prompting"][name]["miou_by_step"]) - 1 for name in names}
    longest = max(lasts)
    *earlier, _ = shown_steps(longest)
    final = f"mIoU after {longest}" if longest and lasts == {longest} else "mIoU at the end"
    steps = [f"mIoU after {step}" for step in earlier]
    columns = ["prompting", *steps, final, "95% interval", "minus random", "FR", "repeated"]
    rows = [_summary_row(runs, name, earlier, resamples) for name in names]
    seeds = ", ".join(str(run["seed"]) for run in runs)
    images = _first(runs[0])["images"]
    caption = (
        f"{len(runs)} runs (seeds {seeds}), {images} {runs[0].get('split', 'test')} images; FR and repeated in percent."
    )
    return ResultTable(columns, rows, caption)


def _summary_row(runs: Sequence[dict[str, Any]], name: str, steps: Sequence[int], resamples: int) -> list[Cell]:
    curves = np.array([run["prompting"][name]["miou_by_step"] for run in runs])
    has_steps = curves.shape[1] > 1
    means = [f"{curves[:, step].mean():.3f}" if has_steps and step < curves.shape[1] else "" for step in steps]
    mean, sign, spread = shown_mean(curves[:, -1]).partition(" ± ")
    ious = [run["iou_by_image"][name] for run in runs]
    return [
        name,
        *means,
        Strong(mean, sign + spread),
        shown_interval(ious, resamples),
        _advantage_over_random(runs, name, resamples),
        _rate(runs, name, "foreground_rate"),
        _rate(runs, name, "repeated"),
    ]


def _advantage_over_random(runs: Sequence[dict[str, Any]], name: str, resamples: int) -> str:
    """Show the interval of the difference in IoU, or nothing where there is no other strategy to compare with."""
    if name == "random" or "random" not in runs[0]["prompting"]:
        return ""
    differences_by_run = []
    for run in runs:
        random = run["iou_by_image"]["random"]
        differences_by_run.append({image: iou - random[image] for image, iou in run["iou_by_image"][name].items()})
    return shown_interval(differences_by_run, resamples)


def _rate(runs: Sequence[dict[str, Any]], name: str, key: str) -> str:
    """Show a rate in percent, or nothing where a run has none."""
    rates = [run["prompting"][name].get(key) for run in runs]
    return "" if None in rates else shown_mean(100 * np.array(rates, dtype=float), 1)


def final_metrics(runs: Sequence[dict[str, Any]]) -> ResultTable:
    """Show the metrics that the runs' data set is known by, after the last prompt.

    They are means over runs ± their sample standard deviation; a column says whether a run's metric is a mean over
    images, over the pixels of all images together, or over categories.
    """
    shown = shown_metrics(_first(runs[0])["metrics"], runs[0]["table"])
    rows = []
    for name in runs[0]["prompting"]:
        row = [name]
        for average, metric in shown:
            row.append(shown_mean([run["prompting"][name]["metrics"][average][metric] for run in runs]))
        rows.append(row)
    columns = ["prompting", *(heading(average, metric) for average, metric in shown)]
    return ResultTable(columns, rows, "After the last prompt.")


def category_ious(runs: Sequence[dict[str, Any]]) -> ResultTable:
    """Show the IoU over the pixels of each category, after the last prompt, means over runs."""
    names = list(runs[0]["prompting"])
    known = [set(_first(run)["metrics"]["by_category"]) for run in runs]
    rows = []
    for category in sorted(set.intersection(*known)):
        row = [category]
        for name in names:
            ious = [run["prompting"][name]["metrics"]["by_category"][category]["iou"] for run in runs]
            row.append(f"{np.mean(ious):.3f}")
        rows.append(row)
    return ResultTable(["category", *names], rows, "IoU over the pixels of each category.")


def _first(run: dict[str, Any]) -> dict[str, Any]:
    """Return the summary of the first prompting strategy, by default the agent."""
    summary: dict[str, Any] = next(iter(run["prompting"].values()))
    return summary


if __name__ == "__main__":
    main()
