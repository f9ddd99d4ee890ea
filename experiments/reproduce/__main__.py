"""The paper's tables and figures, measured again on the data sets and models at hand.

python -m experiments.reproduce table=2
python -m experiments.reproduce table=[2,9] figure=[5,7] seeds=[0,1,2] jobs=2
python -m experiments.reproduce table=beyond seeds=[0,1]
python -m experiments.reproduce table=all figure=all tasks.blur=CUHK tasks.semantic=VOC2012 "overrides=['sam=vit_b']"

Each training is a run of its own, shared by all tables that need it and kept: the same command goes on after an
interruption, repeats what failed, and does nothing again.
"""

from __future__ import annotations

import logging
import shutil
import signal
import sys
from collections.abc import Callable, Collection
from pathlib import Path

from omegaconf import DictConfig

from alignsam_gym.atomic_write import write_atomically
from alignsam_gym.errors import OptionError
from alignsam_gym.evaluation.intervals import rliable
from alignsam_gym.experiments.hydra_command import hydra_command
from alignsam_gym.experiments.reproduce.chosen_parts import check_options, chosen_figures, chosen_tables
from alignsam_gym.experiments.reproduce.measured_cells import CellReader
from alignsam_gym.experiments.reproduce.orderings import claims, orderings_table
from alignsam_gym.experiments.reproduce.paper_tables import (
    MeasuredTable,
    cell_list,
    failure_lines,
    main_table,
    measure_table,
    table_over_tasks,
)
from alignsam_gym.experiments.reproduce.plan import BESIDE_RANDOM, PlannedCell, PlannedTable, main_cell, sweep
from alignsam_gym.experiments.reproduce.planned_runs import PlannedRuns
from alignsam_gym.experiments.reproduce.plots import plot_curves, plot_dots
from alignsam_gym.experiments.reproduce.runner import Execute, Subprocesses, carry_out
from alignsam_gym.experiments.reproduce.table_document import TableDocument

log = logging.getLogger(__name__)


@hydra_command("reproduce")
def main(config: DictConfig) -> None:
    """Reproduce what the command line asks for, and end with a status if a cell failed."""
    processes = Subprocesses(config.jobs)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends what it has started, as Ctrl-C does
    try:
        failed = reproduce(config, processes, processes.interrupt)
    except KeyboardInterrupt:
        log.warning("interrupted; the same command goes on from here")
        raise SystemExit(130) from None
    if failed:
        sys.exit(f"error: {failed} cells could not be measured; the tables say why, and the same command tries again.")


def reproduce(config: DictConfig, execute: Execute, interrupt: Callable[[], None]) -> int:
    """Run what is missing, then write tables and figures into ``output``.

    Args:
        config: As of ``conf/reproduce.yaml``.
        execute: See `carry_out`.
        interrupt: See `carry_out`.

    Returns:
        How many cells failed.

    Raises:
        OptionError: If the configuration is mistaken.
        KeyboardInterrupt: On Ctrl-C.
    """
    check_options(config)
    tables, figures = chosen_tables(config), chosen_figures(config)
    if len(config.seeds) > 1 and any(table.number == 2 for table in tables):
        rliable()  # whose absence would be told after the last run
    if not tables and not figures:
        raise OptionError("Nothing is asked for: name tables or figures, such as table=2 or figure=all.")
    sweeps = _planned_sweeps(config) if 7 in figures else {}
    filmstrips = _planned_filmstrips(config, figures)
    planned = [*tables, *sweeps.values()]
    for table in planned:
        if not table.cells:
            raise OptionError(f"{table.name} shows none of the tasks that are left: {', '.join(config.tasks)}.")
    runs = _planned_runs(config, planned, filmstrips)
    failures = carry_out(list(runs.found.values()), config.jobs, execute, interrupt)
    reader, output = CellReader(runs, failures), Path(config.output)
    failed = sum(_write_table(table, reader, config) for table in tables)
    if sweeps:
        failed += _write_sweeps(sweeps, reader, output, config.resamples)
    for number, cells in filmstrips.items():
        failed += sum(_copy_filmstrip(number, cell, reader, output) for cell in cells)
    log.info("tables and figures are in %s", output)
    return failed


def _planned_sweeps(config: DictConfig) -> dict[str, PlannedTable]:
    """Plan both halves of Figure 7."""
    asked = config.figure7
    return {
        "T": sweep("env.max_steps", asked["T"], asked.tasks).of_tasks(config.tasks),
        "E": sweep("episodes", asked.E, asked.tasks).of_tasks(config.tasks),
    }


def _planned_filmstrips(config: DictConfig, figures: Collection[int]) -> dict[int, list[PlannedCell]]:
    """Plan the cells whose first runs have the filmstrips of Figures 5 and 6."""
    filmstrips = {}
    if 5 in figures:
        filmstrips[5] = [main_cell(task) for task in config.tasks]
    if 6 in figures:
        filmstrips[6] = [main_cell(task, evaluation=BESIDE_RANDOM) for task in config.tasks]
    return filmstrips


def _planned_runs(
    config: DictConfig, tables: Collection[PlannedTable], filmstrips: dict[int, list[PlannedCell]]
) -> PlannedRuns:
    """Find every run that is needed. Raises OptionError for a task whose data set does not have what a table needs."""
    runs = PlannedRuns(config)
    cells = [cell for table in tables for cell in table.cells.values()]
    for task in {cell.task for cell in cells if cell.average != "over_images"}:
        runs.check_categories(task)
    for cell in cells:
        for seed in config.seeds:
            runs.find(cell, seed)
    for drawn in filmstrips.values():
        for cell in drawn:
            runs.find(cell, config.seeds[0])
    return runs


def _write_table(plan: PlannedTable, reader: CellReader, config: DictConfig) -> int:
    """Write ``table<number>.md``, ``.json``, ``.csv`` and ``.png``; returns how many cells failed."""
    output, name = Path(config.output), f"table{plan.number}"
    measured = measure_table(plan, reader, config.resamples)
    further = []
    if plan.number == 2 and (over_tasks := table_over_tasks(measured, config.resamples)):
        further.append(over_tasks)
    if found := claims(plan.number, config.tasks, config.baselines):
        further.append(orderings_table(found, reader, config.resamples))
    document = TableDocument(f"{plan.name}: {plan.title}", main_table(measured), failure_lines(measured), further)
    print(document.to_markdown())
    document.write(output, name)
    write_atomically(output / f"{name}.csv", cell_list(measured).to_csv().encode())
    if plan.number == 5:
        plot_curves({"T": measured}, f"Table 5: {plan.title}", output / f"{name}.png")
    else:
        plot_dots(measured, output / f"{name}.png")
    return measured.failed_cells


def _write_sweeps(sweeps: dict[str, PlannedTable], reader: CellReader, output: Path, resamples: int) -> int:
    """Write ``figure7.png``, and each half as Markdown, JSON and CSV; returns how many cells failed."""
    panels: dict[str, MeasuredTable] = {}
    for name, plan in sweeps.items():
        panels[name] = measure_table(plan, reader, resamples)
    plot_curves(panels, "Figure 7: trained with other T and E", output / "figure7.png")
    for name, measured in panels.items():
        title = f"{measured.plan.name}: {measured.plan.title}"
        TableDocument(title, main_table(measured), failure_lines(measured)).write(output, f"figure7_{name}")
        write_atomically(output / f"figure7_{name}.csv", cell_list(measured).to_csv().encode())
    return sum(measured.failed_cells for measured in panels.values())


def _copy_filmstrip(number: int, cell: PlannedCell, reader: CellReader, output: Path) -> bool:
    """Write ``figure<number>_<task>.png``, the first seed's filmstrip; returns whether there is none."""
    run = reader.runs.find(cell, reader.runs.config.seeds[0])
    filmstrip = run.folder / "filmstrip.png"
    if run.folder in reader.failures or not filmstrip.exists():
        reason = reader.failures.get(run.folder, f"no {filmstrip}")
        log.error("Figure %d lacks %s: %s", number, cell.task, reason)
        return True
    shutil.copyfile(filmstrip, output / f"figure{number}_{cell.task}.png")
    return False


if __name__ == "__main__":
    main()
