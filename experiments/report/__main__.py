"""One HTML page over runs: what was run, tables, curves, pictures, failures. It needs no network.

python -m experiments.report run_dirs=outputs/reproduce output=report.html
python -m experiments.report run_dirs=[outputs/train,multirun]
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import hydra
from jinja2 import Environment, PackageLoader, StrictUndefined
from omegaconf import DictConfig, ListConfig

from alignsam_gym.atomic_write import write_atomically
from alignsam_gym.errors import DataError, check_count
from alignsam_gym.experiments.report.blocks import Block, blocks, inline
from alignsam_gym.experiments.report.embedded_images import Picture, by_step, embed_if_exists
from alignsam_gym.experiments.report.found_runs import Group, differences, find_runs, grouped
from alignsam_gym.experiments.run_folder import exit_on_user_error
from alignsam_gym.experiments.summarize import all_tables

log = logging.getLogger(__name__)
_WORST = 10


@hydra.main(version_base="1.3", config_path="../../conf", config_name="report")
@exit_on_user_error
def main(config: DictConfig) -> None:
    check_count("resamples", config.resamples, "an interval needs at least one")
    places = config.run_dirs if isinstance(config.run_dirs, ListConfig) else [config.run_dirs]
    page = make_page([Path(place) for place in places], config.title, config.resamples)
    write_atomically(Path(config.output), page.encode())
    log.info("the report is %s", config.output)


def make_page(folders: Sequence[Path], title: str, resamples: int) -> str:
    """The page's HTML. Raises DataError if there is nothing to report on."""
    runs = find_runs(folders)
    groups = grouped(runs)
    if not runs:
        raise DataError(f"There is no run below {', '.join(map(str, folders))}.")
    environment = Environment(
        loader=PackageLoader("alignsam_gym.experiments.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        inline=inline,
        title=title,
        finished=sum(len(group.runs) for group in groups),
        failed=[run for run in runs if run.metrics is None and run.logs and not run.config.get("resume")],
        overview=_overview(groups),
        reproduction=[part for folder in folders for part in _reproduction(folder)],
        groups=[_results(group, resamples) for group in groups],
    )


def _overview(groups: Sequence[Group]) -> list[Block]:
    head = ["runs", "seeds", "test images", "minutes of training each"]
    rows = []
    for group in groups:
        minutes = [metrics["training_minutes"] for metrics in group.metrics if "training_minutes" in metrics]
        images = group.metrics[0]["prompting"][group.first_way]["images"]
        rows.append([group.name, group.seeds, str(images), ", ".join(f"{each:.1f}" for each in minutes)])
    found = [Block("table", [head, *rows], "Runs of one configuration, which differ in their seed alone")]
    different = differences(groups)
    if any(different):
        lines = [[group.name, ", ".join(each)] for group, each in zip(groups, different, strict=True)]
        found.append(Block("table", [["", "unlike most"], *lines], "What configurations differ in"))
    versions = sorted({item for group in groups for run in group.runs for item in run.versions.items()})
    if versions:
        lines = [[name, str(version)] for name, version in versions]
        found.append(Block("table", [["of", "version"], *lines], "Versions"))
    return found


def _results(group: Group, resamples: int) -> dict[str, Any]:
    """A group's part of the page."""
    pictures = by_step(group)
    for run, metrics in zip(group.runs, group.metrics, strict=True):
        pictures += embed_if_exists(run.folder / "learning_curve.png", f"Learning curves, seed {metrics['seed']}")
    pictures += embed_if_exists(
        group.runs[0].folder / "filmstrip.png", f"Prompts one by one, seed {group.metrics[0]['seed']}"
    )
    caption = f"{group.name}: lowest IoU by {group.first_way}, means over seeds"
    worst = [[name, f"{iou:.3f}"] for name, iou in group.worst(_WORST)]
    return {
        "name": group.name,
        "tables": [block for table in all_tables(group.metrics, resamples) for block in blocks(table)],
        "pictures": pictures,
        "worst": Block("table", [["test image", "IoU"], *worst], caption),
    }


def _reproduction(folder: Path) -> Iterable[dict[str, Any]]:
    """What `experiments.reproduce` has written: tables with their plots, and the figures."""
    for file in sorted(folder.glob("table*.md"), key=lambda file: (len(file.stem), file.stem)):
        found = blocks(file.read_text())
        yield {"blocks": found, "pictures": embed_if_exists(file.with_suffix(".png"), f"Plot of {found[0].lines[0]}")}
    figures: list[Picture] = []
    for file in sorted(folder.glob("figure*.png")):
        number, _, task = file.stem.removeprefix("figure").partition("_")
        figures += embed_if_exists(file, f"Figure {number}{f', {task}' if task else ''}")
    if figures:
        yield {"blocks": [Block("heading", ["Figures"])], "pictures": figures}


if __name__ == "__main__":
    main()
