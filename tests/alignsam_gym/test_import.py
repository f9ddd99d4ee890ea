import ast
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest

import alignsam_gym
from alignsam_gym.foundation.sam.predictor import load_sam

PACKAGE = Path(alignsam_gym.__file__).parent
ROOT = PACKAGE.parent
ABOVE = {
    **dict.fromkeys(
        ("data", "envs", "foundation", "metrics", "srm"), ("agents", "evaluation", "baselines", "demo", "labelling")
    ),
    "agents": ("evaluation", "baselines", "demo", "labelling"),
    **dict.fromkeys(("evaluation", "baselines", "demo", "labelling"), ()),
}
"""For each package, those that stand above it, and so may not be imported; `experiments` stands above all."""


def sources_of(package):
    return sorted((PACKAGE / package).rglob("*.py"))


@cache
def imported(source):
    """Dotted names of the modules, and of what is taken from them, that a file imports."""
    names = []
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in {source}"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def test_importing_the_package_is_cheap(run_python):
    heavy = {"torch", "stable_baselines3", "hydra", "cv2", "segment_anything"}
    loaded = run_python("import sys, alignsam_gym; print(*sys.modules)").split()
    assert "alignsam_gym" in loaded
    assert not heavy & set(loaded)


def test_the_public_names_are_imported_when_asked_for(run_python):
    assert (
        run_python("import alignsam_gym as a; print(sorted(a.__all__), set(a.__all__) <= set(dir(a)))").split("\n")[0]
        == "['AlignSAM', 'AlignSAMEnv', 'AlignSAMVectorEnv', 'errors'] True"
    )
    for name in alignsam_gym.__all__:
        assert getattr(alignsam_gym, name).__name__ == ("alignsam_gym.errors" if name == "errors" else name)
    with pytest.raises(AttributeError, match="has no attribute 'AlignSAMM'"):
        alignsam_gym.AlignSAMM  # noqa: B018


def test_metrics_are_cheap_to_import_until_used(run_python):
    loaded = run_python("import sys, alignsam_gym.metrics; print(*sys.modules)").split()
    assert not {"py_sod_metrics", "sklearn", "torch", "cv2"} & set(loaded)


@pytest.mark.slow
def test_playing_needs_neither_stable_baselines_nor_hydra(run_python):
    loaded = run_python(
        "import sys, alignsam_gym.envs.alignsam_env, alignsam_gym.envs.alignsam_vector_env; print(*sys.modules)"
    ).split()
    assert "torch" in loaded
    assert not {"stable_baselines3", "hydra"} & set(loaded)


@pytest.mark.slow
def test_prediction_with_the_embedded_models_imports_only_what_it_uses(make_run, monkeypatch, tmp_path, run_python):
    monkeypatch.setattr("alignsam_gym.envs.episode_factory.load_sam", load_sam)
    run, photo = make_run(features="both"), tmp_path / "photo.png"
    cv2.imwrite(str(photo), np.zeros((40, 60, 3), np.uint8))
    arguments = ["predict", str(run), str(photo), "--out", str(tmp_path / "out")]
    program = f"""
import sys
from alignsam_gym.experiments.cli import app
try: app({arguments})
except SystemExit: print(*sys.modules)
"""
    loaded = set(run_python(program).split())
    assert (tmp_path / "out/photo.png").exists()
    assert "torch" in loaded
    unused = {"open_clip", "timm", "transformers", "wandb", "hydra", "matplotlib", "pandas", "py_sod_metrics", "gradio"}
    assert not (unused | {"torchvision", "torch._dynamo"}) & loaded


@pytest.mark.parametrize("package", ABOVE)
def test_packages_import_only_what_stands_below_them(package):
    above = tuple(f"alignsam_gym.{name}." for name in (*ABOVE[package], "experiments", "conf"))
    sources = sources_of(package)
    assert sources
    assert not [(file, name) for file in sources for name in imported(file) if f"{name}.".startswith(above)]


@pytest.mark.parametrize("package", [package for package, above in ABOVE.items() if "agents" in above])
def test_playing_the_game_needs_no_agent_library(package):
    libraries = ("stable_baselines3.", "hydra.", "omegaconf.")
    found = [(file, name) for file in sources_of(package) for name in imported(file)]
    assert not [(file, name) for file, name in found if f"{name}.".startswith(libraries)]


@pytest.mark.parametrize("folder", ["alignsam_gym", "agents", "experiments", "tests", "examples", "docs"])
def test_no_module_exists_under_two_names(folder):
    """`agents`, `conf` and `experiments` are other people's names as well: ours are imported through `alignsam_gym`."""
    ours = ("agents.", "conf.", "experiments.")
    found = [(file, name) for file in (ROOT / folder).rglob("*.py") for name in imported(file)]
    assert found
    assert not [(file, name) for file, name in found if f"{name}.".startswith(ours)]


def test_the_package_runs_as_the_command_does(run_python):
    program = "import runpy, sys; sys.argv[1:] = ['--version']; runpy.run_module('alignsam_gym', run_name='__main__')"
    assert run_python(program) == f"alignsam-gym {alignsam_gym.__version__}\n"
