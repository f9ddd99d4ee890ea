"""One table over several runs of one configuration: means, spreads over seeds, and intervals.

python -m experiments.train -m seed=0,1,2 hydra.sweep.dir=runs/shapes
python -m experiments.summarize runs=runs/shapes
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
import numpy as np
from omegaconf import DictConfig, ListConfig

from alignsam_gym.atomic_write import write_atomically
from alignsam_gym.errors import DataError, check_count
from alignsam_gym.evaluation.intervals import METRICS, markdown, outermost, shown_interval, shown_mean
from alignsam_gym.evaluation.prompting_evaluation import shown_steps
from alignsam_gym.experiments.report.found_runs import differences, grouped, read_run
from alignsam_gym.experiments.run_folder import exit_on_user_error
from alignsam_gym.metrics import heading, shown_metrics


@hydra.main(version_base="1.3", config_path="../conf", config_name="summarize")
@exit_on_user_error
def main(config: DictConfig) -> None:
    check_count("resamples", config.resamples, "an interval needs at least one")
    places = config.runs if isinstance(config.runs, ListConfig) else [config.runs]
    folders = outermost(file.parent for place in places for file in Path(place).rglob(METRICS))
    if not folders:
        raise DataError(f"There is no {METRICS} below {', '.join(map(str, places))}; has a training finished there?")
    runs = read_runs(folders)
    table = "\n\n".join(all_tables(runs, config.resamples))
    print(table)
    if config.output:
        write_atomically(Path(config.output), f"{table}\n".encode())


def read_runs(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """What the folders' `metrics.json` hold. Raises DataError if they do not measure the same, of one configuration."""
    found = [read_run(folder) for folder in folders]
    runs = [dict(run.metrics or {}) for run in found]
    for folder, run in zip(folders, runs, strict=True):
        for here, first in zip(_measured(run), _measured(runs[0]), strict=True):
            if here != first:
                raise DataError(
                    f"{folder} measures {here}, but {folders[0]} {first}: name runs of one configuration, or of one "
                    "method."
                )
    if len(groups := grouped(found)) > 1:
        told = "; ".join(
            f"{group.runs[0].folder}: {' '.join(each) or 'as most'}"
            for group, each in zip(groups, differences(groups), strict=True)
        )
        raise DataError(
            f"These runs are of {len(groups)} configurations, not of one with several seeds. {told}. Name the runs of "
            "one; experiments.report shows several beside each other."
        )
    return runs


def _measured(run: dict[str, Any]) -> list[str]:
    """What figures are of, in words: of runs that may be averaged all alike."""
    strategies = run["prompting"]
    images = next(iter(strategies.values()))["images"]
    prompts = (f"{name} with {len(way.get('miou_by_step', ())) - 1} prompts" for name, way in strategies.items())
    averages = dict.fromkeys(average for way in strategies.values() for average in way.get("metrics", ()))
    figures = ", ".join([*run.get("table", ()), *averages])
    where = f"{images} images of {run.get('measured_on', 'a data set')}"
    return [", ".join(strategies), where, ", ".join(prompts), figures]


def all_tables(runs: Sequence[dict[str, Any]], resamples: int) -> list[str]:
    """The tables below that runs have the figures for, as Markdown; runs: their `metrics.json`."""
    tables = [summary(runs, resamples)]
    if all("table" in run for run in runs):  # older runs have no such figures
        tables.append(final_metrics(runs))
    if all("by_category" in _first(run).get("metrics", {}) for run in runs):
        tables.append(by_category(runs))
    return tables


def summary(runs: Sequence[dict[str, Any]], resamples: int) -> str:
    """A Markdown table, a row for each way of prompting.

    mIoU is the mean over runs and images, ± the standard deviation of the runs' means, with the interval of
    `intervals.interval`; the advantage over random prompting is paired by run and image. A method that does not prompt step by step has neither steps nor FR.
    """
    names = list(runs[0]["prompting"])
    lasts = {name: len(runs[0]["prompting"][name]["miou_by_step"]) - 1 for name in names}
    longest = max(lasts.values())
    steps = shown_steps(longest)
    final = f"mIoU after {longest}" if longest and set(lasts.values()) == {longest} else "mIoU at the end"
    header = ["prompting", *(f"mIoU after {t}" for t in steps[:-1]), final, "95% interval", "minus random"]
    lines = [[*header, "FR", "repeated"], ["---"] * (len(header) + 2)]
    reference = _by_image(runs, "random") if "random" in names else []
    for name in names:
        curves = np.array([run["prompting"][name]["miou_by_step"] for run in runs])
        ious = _by_image(runs, name)
        means = [f"{curves[:, t].mean():.3f}" if t < curves.shape[1] > 1 else "" for t in steps[:-1]]
        mean, sign, spread = shown_mean(curves[:, -1]).partition(" ± ")
        last = f"**{mean}**{sign}{spread}"
        pairs = [] if name == "random" else zip(ious, reference, strict=False)  # of no reference, none
        gain = [{image: iou - other[image] for image, iou in one.items()} for one, other in pairs]
        between = shown_interval(gain, resamples) if gain else ""
        shares = [_share(runs, name, key) for key in ("foreground_rate", "repeated")]
        lines.append([name, *means, last, shown_interval(ious, resamples), between, *shares])
    seeds = ", ".join(str(run["seed"]) for run in runs)
    images = runs[0]["prompting"][names[0]]["images"]
    title = f"{len(runs)} runs (seeds {seeds}), {images} test images; FR and repeated in percent."
    return title + "\n\n" + markdown(lines)


def final_metrics(runs: Sequence[dict[str, Any]]) -> str:
    """A Markdown table of the figures that the runs' data set is known by, after the last prompt.

    Means over runs ± their standard deviation; a column says whether a run's figure is a mean over images, over the
    pixels of all images together, or over categories.
    """
    shown = shown_metrics(_first(runs[0])["metrics"], runs[0]["table"])
    header = ["prompting", *(heading(average, name) for average, name in shown)]
    lines = [header, ["---"] * len(header)]
    for row in runs[0]["prompting"]:
        figures = [
            np.array([run["prompting"][row]["metrics"][average][name] for run in runs]) for average, name in shown
        ]
        lines.append([row, *map(shown_mean, figures)])
    return "After the last prompt.\n\n" + markdown(lines)


def by_category(runs: Sequence[dict[str, Any]]) -> str:
    """A Markdown table of the IoU over the pixels of each category, after the last prompt, means over runs."""
    names = list(runs[0]["prompting"])
    found = {name: [run["prompting"][name]["metrics"]["by_category"] for run in runs] for name in names}
    header = ["category", *names]
    lines = [header, ["---"] * len(header)]
    for category in sorted(set.intersection(*(set(one) for one in found[names[0]]))):
        means = (np.mean([one[category]["iou"] for one in found[name]]) for name in names)
        lines.append([category, *(f"{mean:.3f}" for mean in means)])
    return "IoU over the pixels of each category.\n\n" + markdown(lines)


def _first(run: dict[str, Any]) -> dict[str, Any]:
    """The summary of the first way of prompting, by default the agent."""
    return next(iter(run["prompting"].values()))


def _share(runs: Sequence[dict[str, Any]], name: str, key: str) -> str:
    values = 100 * np.array([run["prompting"][name].get(key) for run in runs], dtype=float)  # None is NaN then
    return "" if np.isnan(values).any() else shown_mean(values, 1)


def _by_image(runs: Sequence[dict[str, Any]], name: str) -> list[dict[str, float]]:
    return [run["iou_by_image"][name] for run in runs]


if __name__ == "__main__":
    main()
