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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, ListConfig

from alignsam_gym.atomic_write import write_atomically
from alignsam_gym.baselines import BASELINES
from alignsam_gym.errors import OptionError, check_choice, check_count
from alignsam_gym.evaluation.intervals import rliable
from alignsam_gym.experiments.reproduce.orderings import claims, orderings
from alignsam_gym.experiments.reproduce.paper_tables import as_csv, as_markdown, over_tasks, show
from alignsam_gym.experiments.reproduce.plan import (
    BESIDE_RANDOM,
    BEYOND,
    FIGURES,
    PICTURES,
    TABLES,
    Cell,
    Table,
    beyond,
    main_cell,
    make_table,
    sweep,
)
from alignsam_gym.experiments.reproduce.plots import curves, dots
from alignsam_gym.experiments.reproduce.results import Results
from alignsam_gym.experiments.reproduce.runner import Execute, Subprocesses, carry_out
from alignsam_gym.experiments.reproduce.task_runs import Runs
from alignsam_gym.experiments.run_folder import check_seed, exit_on_user_error

log = logging.getLogger(__name__)


@hydra.main(version_base="1.3", config_path="../../conf", config_name="reproduce")
@exit_on_user_error
def main(config: DictConfig) -> None:
    processes = Subprocesses(config.jobs)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends what it has started, as Ctrl-C does
    try:
        failed = reproduce(config, processes, processes.interrupt)
    except KeyboardInterrupt:
        log.warning("interrupted; the same command goes on from here")
        raise SystemExit(130) from None
    if failed:
        sys.exit(f"error: {failed} cells could not be measured; the tables say why, and the same command tries again.")


def check_options(config: DictConfig) -> None:
    """Raises OptionError for what would be found out late, or taken for something else."""
    check_count("jobs", config.jobs, "at least one run at a time")
    check_count("resamples", config.resamples, "an interval needs at least one")
    if not isinstance(config.overrides, ListConfig):
        raise OptionError(f"overrides={config.overrides}: a list, such as \"overrides=['sam=vit_b']\".")
    numbers = {"seeds": config.seeds, "figure7.T": config.figure7["T"], "figure7.E": config.figure7.E}
    for name, values in numbers.items():
        if not isinstance(values, ListConfig) or not values or not all(isinstance(value, int) for value in values):
            raise OptionError(f"{name}={values}: a list of whole numbers, such as [5,10,15].")
    for seed in config.seeds:
        check_seed(seed)
    lists = {"baselines": (config.baselines, tuple(BASELINES)), "beyond": (config.beyond, tuple(FIGURES))}
    for name, (values, known) in (lists | {"figure7.tasks": (config.figure7.tasks, tuple(FIGURES))}).items():
        if not isinstance(values, ListConfig):
            raise OptionError(f"{name}={values}: a list, such as [{known[0]}].")
        for value in values:
            check_choice(name, value, known)


def reproduce(config: DictConfig, execute: Execute, interrupt: Callable[[], None]) -> int:
    """Run what is missing, then write tables and figures into ``output``; returns how many cells failed.

    execute, interrupt: see `carry_out`. Raises OptionError and KeyboardInterrupt.
    """
    check_options(config)
    chosen = _chosen(config.table, [*TABLES, BEYOND], "table")
    if 2 in chosen and len(config.seeds) > 1:
        rliable()  # whose absence would be told after the last run
    tables = [
        (beyond(config.beyond) if each == BEYOND else make_table(int(each), config.baselines)).of_tasks(config.tasks)
        for each in chosen
    ]
    pictures = _chosen(config.figure, PICTURES, "figure")
    if not tables and not pictures:
        raise OptionError("Nothing is asked for: name tables or figures, such as table=2 or figure=all.")
    sweeps = {"T": sweep("env.max_steps", config.figure7["T"], config.figure7.tasks).of_tasks(config.tasks)}
    sweeps["E"] = sweep("episodes", config.figure7.E, config.figure7.tasks).of_tasks(config.tasks)
    measured = tables + (list(sweeps.values()) if 7 in pictures else [])
    for table in measured:
        if not table.cells:
            raise OptionError(f"{table.name} shows none of the tasks that are left: {', '.join(config.tasks)}.")
    runs, output = Runs(config), Path(config.output)
    strips = {5: [main_cell(task) for task in config.tasks]}
    strips[6] = [main_cell(task, evaluation=BESIDE_RANDOM) for task in config.tasks]
    cells = [cell for table in measured for cell in table.cells.values()]
    for task in {cell.task for cell in cells if cell.average != "over_images"}:
        runs.check_categories(task)
    for cell in cells:
        for seed in config.seeds:
            runs.of(cell, seed)
    for number in {5, 6} & {*pictures}:
        for cell in strips[number]:
            runs.of(cell, config.seeds[0])
    failures = carry_out(list(runs.found.values()), config.jobs, execute, interrupt)
    results = Results(runs, failures)
    failed = sum(_write(table, results, config) for table in tables)
    if 7 in pictures:
        failed += _draw_sweeps(sweeps, results, output, config.resamples)
    for number in sorted({5, 6} & {*pictures}):
        failed += sum(_copy_strip(number, cell, results, output) for cell in strips[number])
    log.info("tables and figures are in %s", output)
    return failed


def _chosen(asked: Any, there: Sequence[int | str], name: str) -> list[int | str]:
    if asked == "all":  # the paper's
        return [each for each in there if each != BEYOND]
    numbers = list(asked) if isinstance(asked, ListConfig) else [asked]
    for number in numbers:
        if number not in there:
            raise OptionError(f"{name}={number}: there are {', '.join(map(str, there))}, a list of them, and all.")
    return [number for number in there if number in numbers]


def _write(table: Table, results: Results, config: DictConfig) -> int:
    """``table<number>.md``, ``.csv`` and ``.png``; returns how many cells failed."""
    output, resamples = Path(config.output), config.resamples
    shown = show(table, results, resamples)
    text = as_markdown(shown, results)
    if table.number == 2:
        text += "\n" + over_tasks(shown, resamples) + "\n"
    if found := claims(table.number, config.tasks, config.baselines):
        text += "\nWhat is ahead of what, by paired differences:\n\n" + orderings(found, results, resamples) + "\n"
    print(text)
    write_atomically(output / f"table{table.number}.md", text.encode())
    write_atomically(output / f"table{table.number}.csv", as_csv(shown, results).encode())
    picture = output / f"table{table.number}.png"
    if table.number == 5:
        curves({"T": shown}, f"Table 5: {table.title}", picture)
    else:
        dots(shown, picture)
    return sum(bool(measured.failures) for measured in shown.measured.values())


def _draw_sweeps(sweeps: dict[str, Table], results: Results, output: Path, resamples: int) -> int:
    """``figure7.png``, and each half as Markdown and CSV; returns how many cells failed."""
    panels = {name: show(table, results, resamples) for name, table in sweeps.items()}
    curves(panels, "Figure 7: trained with other T and E", output / "figure7.png")
    for name, shown in panels.items():
        write_atomically(output / f"figure7_{name}.md", as_markdown(shown, results).encode())
        write_atomically(output / f"figure7_{name}.csv", as_csv(shown, results).encode())
    return sum(bool(measured.failures) for shown in panels.values() for measured in shown.measured.values())


def _copy_strip(number: int, cell: Cell, results: Results, output: Path) -> bool:
    """``figure<number>_<task>.png``, the first seed's filmstrip; returns whether there is none."""
    run = results.runs.of(cell, results.runs.config.seeds[0])
    picture = run.folder / "filmstrip.png"
    if run.folder in results.failures or not picture.exists():
        log.error("Figure %d lacks %s: %s", number, cell.task, results.failures.get(run.folder, f"no {picture}"))
        return True
    shutil.copyfile(picture, output / f"figure{number}_{cell.task}.png")
    return False


if __name__ == "__main__":
    main()
