import importlib
import sys

import pytest
import segment_anything
from segment_anything.modeling import Sam

from alignsam_gym.foundation.postponed_import import postpone_import


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The name of a package whose `__init__` sets `offered` and notes that it ran."""
    folder = tmp_path / "slow_package"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "import slow_package.log as log\nlog.ran.append(1)\nfrom slow_package.part import offered"
    )
    (folder / "log.py").write_text("ran = []")
    (folder / "part.py").write_text("offered = object()")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield "slow_package"
    for name in [name for name in sys.modules if name.partition(".")[0] == "slow_package"]:
        del sys.modules[name]


def test_a_module_is_imported_without_its_package_which_runs_once_when_it_is_needed(package):
    postpone_import(package)
    part, log = importlib.import_module(f"{package}.part"), importlib.import_module(f"{package}.log")
    assert log.ran == []
    whole = importlib.import_module(package)
    assert whole.offered is part.offered
    assert log.ran == [1]
    with pytest.raises(AttributeError, match="nothing"):
        whole.nothing  # noqa: B018
    assert log.ran == [1]


def test_all_names_of_a_package_can_be_taken(package):
    postpone_import(package)
    names = {}
    exec(f"from {package} import *", names)
    assert names["offered"] is sys.modules[f"{package}.part"].offered


def test_a_package_that_fails_tells_why_each_time(package, tmp_path):
    (tmp_path / package / "part.py").write_text("raise OSError('a library is missing')")
    postpone_import(package)
    whole = importlib.import_module(package)
    for _ in range(2):
        with pytest.raises(OSError, match="a library is missing"):
            whole.offered  # noqa: B018


def test_a_package_that_was_imported_before_stays_as_it_is(package):
    whole = importlib.import_module(package)
    postpone_import(package)
    assert sys.modules[package] is whole


def test_a_package_that_is_not_installed_is_left_alone():
    postpone_import("not_installed_here")
    assert "not_installed_here" not in sys.modules


def test_all_of_segment_anything_is_there():
    assert segment_anything.SamPredictor.__module__ == "segment_anything.predictor"
    assert segment_anything.modeling.Sam is Sam
