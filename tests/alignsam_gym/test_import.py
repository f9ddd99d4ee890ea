import ast
from pathlib import Path

import pytest

import alignsam_gym

SOURCES = sorted(Path(alignsam_gym.__file__).parent.rglob("*.py"))


def test_importing_the_package_is_cheap(run_python):
    heavy = {"torch", "stable_baselines3", "hydra", "cv2", "segment_anything"}
    loaded = run_python("import sys, alignsam_gym; print(*sys.modules)").split()
    assert "alignsam_gym" in loaded
    assert not heavy & set(loaded)


def test_metrics_are_cheap_to_import_until_used(run_python):
    loaded = run_python("import sys, alignsam_gym.metrics; print(*sys.modules)").split()
    assert not {"py_sod_metrics", "sklearn", "torch", "cv2"} & set(loaded)


@pytest.mark.slow
def test_playing_needs_neither_stable_baselines_nor_hydra(run_python):
    loaded = run_python("import sys, alignsam_gym.envs.single, alignsam_gym.envs.vector; print(*sys.modules)").split()
    assert "torch" in loaded
    assert not {"stable_baselines3", "hydra"} & set(loaded)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_the_library_imports_nothing_of_agents_or_experiments(source):
    names = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            names.add(node.module.partition(".")[0])
    assert not names & {"agents", "experiments", "conf", "stable_baselines3", "hydra", "omegaconf"}
