"""Files are drawn whatever backend matplotlib is told to use."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DRAWING = [
    "alignsam_gym.evaluation.filmstrips",
    "alignsam_gym.experiments.report.embedded_images",
    "alignsam_gym.experiments.reproduce.plots",
    "alignsam_gym.experiments.benchmark.memory",
]
"""The modules that draw."""


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "nowhere", ""])
def test_a_backend_that_is_not_installed_here_is_forgotten(run_python, tmp_path, monkeypatch, backend):
    monkeypatch.setenv("MPLBACKEND", backend)
    run_python(f"from alignsam_gym.figure_files import Figure; Figure().savefig({str(tmp_path / 'a.png')!r})")
    assert (tmp_path / "a.png").stat().st_size > 0


def test_a_backend_that_is_installed_stays_chosen(run_python, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "svg")
    program = "import os, alignsam_gym.figure_files, matplotlib as m; print(m.get_backend(), os.environ['MPLBACKEND'])"
    assert run_python(program).split() == ["svg", "svg"]


def test_a_backend_that_was_chosen_before_stays(run_python, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "svg")
    program = "import matplotlib as m; m.use('pdf'); import alignsam_gym.figure_files; print(m.get_backend())"
    assert run_python(program).strip() == "pdf"


@pytest.mark.slow
def test_in_a_notebooks_cell_every_module_that_draws_does(run_python, tmp_path, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "nowhere")
    lines = [f"import {name}" for name in DRAWING]
    lines += [
        "from pathlib import Path",
        "from alignsam_gym.agents.callbacks import CURVES",
        "from alignsam_gym.evaluation.filmstrips import learning_curve",
        f"learning_curve([dict.fromkeys([*CURVES, 'timesteps'], 1.0)], Path({str(tmp_path / 'a.png')!r}))",
    ]
    run_python("\n".join(lines))
    assert (tmp_path / "a.png").stat().st_size > 0


def test_matplotlib_is_imported_in_one_place():
    found = set()
    for folder in ("alignsam_gym", "agents", "experiments"):
        for source in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                found |= {source.stem for name in names if name.startswith("matplotlib")}
    assert found == {"figure_files"}
