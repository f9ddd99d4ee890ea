"""One HTML page over runs: what was run, tables, curves, pictures, failures. It needs no network.

python -m experiments.report run_dirs=outputs/reproduce output=report.html
python -m experiments.report run_dirs=[outputs/train,multirun]
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from omegaconf import DictConfig, ListConfig

from alignsam_gym.atomic_write import write_atomically
from alignsam_gym.errors import check_count
from alignsam_gym.experiments.hydra_command import hydra_command
from alignsam_gym.experiments.report.embedded_images import EmbeddedImage, embed_if_exists, plot_miou_by_step
from alignsam_gym.experiments.report.found_runs import RunGroup, differences, find_runs, grouped
from alignsam_gym.experiments.reproduce.table_document import TableDocument
from alignsam_gym.experiments.summarize import summary_tables
from alignsam_gym.result_table import ResultTable

log = logging.getLogger(__name__)
_WORST = 10


@dataclass(frozen=True)
class Section:
    """A part of the page: a heading, then tables, failures, and images.

    Attributes:
        title: The heading.
        tables: In the page's order.
        failures: Why parts of the tables are missing, a line for each.
        images: Below the tables.
    """

    title: str
    tables: Sequence[ResultTable] = ()
    failures: Sequence[str] = ()
    images: Sequence[EmbeddedImage] = ()


@hydra_command("report")
def main(config: DictConfig) -> None:
    """Write the page."""
    check_count("resamples", config.resamples, "an interval needs at least one")
    places = config.run_dirs if isinstance(config.run_dirs, ListConfig) else [config.run_dirs]
    page = make_page([Path(place) for place in places], config.title, config.resamples)
    write_atomically(Path(config.output), page.encode())
    log.info("the report is %s", config.output)


def make_page(folders: Sequence[Path], title: str, resamples: int) -> str:
    """Make the page's HTML.

    Args:
        folders: Are searched for runs, and for what `experiments.reproduce` has written.
        title: The page's.
        resamples: Of each interval.

    Raises:
        DataError: If a folder has no finished run, or a file is damaged.
    """
    runs = find_runs(folders)
    groups = grouped(runs)
    environment = Environment(
        loader=PackageLoader("alignsam_gym.experiments.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        title=title,
        finished=sum(len(group.runs) for group in groups),
        failed=[run for run in runs if run.metrics is None and run.logs and not run.config.get("resume")],
        overview=_overview(groups),
        reproduction=[section for folder in _reproduction_folders(folders) for section in _reproduction(folder)],
        results=[_results(group, resamples) for group in groups],
        worst=[_worst_images(group) for group in groups],
    )


def _overview(groups: Sequence[RunGroup]) -> list[ResultTable]:
    columns = ["runs", "seeds", "images", "minutes of training each"]
    rows = []
    for group in groups:
        minutes = [metrics["training_minutes"] for metrics in group.metrics if "training_minutes" in metrics]
        images = group.metrics[0]["prompting"][group.first_strategy]["images"]
        rows.append([group.name, group.seeds, str(images), ", ".join(f"{each:.1f}" for each in minutes)])
    tables = [ResultTable(columns, rows, "Runs of one configuration, which differ in their seed alone")]
    different = differences(groups)
    if any(different):
        rows = [[group.name, ", ".join(values)] for group, values in zip(groups, different, strict=True)]
        tables.append(ResultTable(["", "unlike most"], rows, "What configurations differ in"))
    versions = {item for group in groups for run in group.runs for item in run.versions.items()}
    if versions:
        rows = [[name, str(version)] for name, version in sorted(versions)]
        tables.append(ResultTable(["of", "version"], rows, "Versions"))
    return tables


def _results(group: RunGroup, resamples: int) -> Section:
    images = [plot_miou_by_step(group)]
    for run, metrics in zip(group.runs, group.metrics, strict=True):
        images += embed_if_exists(run.folder / "learning_curve.png", f"Learning curves, seed {metrics['seed']}")
    first = group.runs[0].folder / "filmstrip.png"
    images += embed_if_exists(first, f"Prompts one by one, seed {group.metrics[0]['seed']}")
    return Section(group.name, summary_tables(group.metrics, resamples), images=images)


def _worst_images(group: RunGroup) -> ResultTable:
    rows = [[image, f"{iou:.3f}"] for image, iou in group.worst(_WORST)]
    caption = f"{group.name}: lowest IoU by {group.first_strategy}, means over seeds"
    return ResultTable(["test image", "IoU"], rows, caption)


def _reproduction_folders(places: Sequence[Path]) -> list[Path]:
    """List the places, and the folders below them that `experiments.reproduce` keeps its runs in."""
    found = {place.resolve() for place in places}
    return sorted(found | {runs.parent for place in found for runs in place.rglob("runs")})


def _reproduction(folder: Path) -> Iterator[Section]:
    """Show what `experiments.reproduce` has written: tables with their plots, and the paper's figures."""
    tables = sorted(folder.glob("table*.json"), key=lambda file: (len(file.stem), file.stem))
    for file in [*tables, *sorted(folder.glob("figure*.json"))]:
        document = TableDocument.read(file)
        plot = embed_if_exists(file.with_suffix(".png"), f"Plot of {document.title}")
        yield Section(document.title, [document.main, *document.further], document.failures, plot)
    images: list[EmbeddedImage] = []
    for file in sorted(folder.glob("figure*.png")):
        number, _, task = file.stem.removeprefix("figure").partition("_")
        images += embed_if_exists(file, f"Figure {number}, {task}" if task else f"Figure {number}")
    if images:
        yield Section("Figures", images=images)


if __name__ == "__main__":
    main()
