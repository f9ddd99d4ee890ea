"""What keeps the tree easy to find one's way in."""

import ast
import itertools
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LONGEST_FILE = 400
MOST_PARAMETERS = 10
MOST_OPTIONS = 12  # of a command, which are given by name
ENDINGS = {"", "d", "e", "er", "ers", "es", "ed", "ing", "ion", "ions", "ation", "or", "s"}
NAMED_BY_PYTHON = {"__init__", "__main__", "conftest"}

RECIPE = {"Trainer", "build", "pictures", "save", "score"}
"""What each recipe of experiments/pretrain has, so that one command runs any of them."""


def tracked_modules():
    command = ["git", "ls-files", "-z", "-co", "--exclude-standard", "*.py"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [Path(name) for name in listed.split("\0")[:-1] if (ROOT / name).exists()]


MODULES = tracked_modules()
PACKAGE = [module for module in MODULES if module.parts[0] in ("alignsam_gym", "agents", "experiments")]


def tree_of(module):
    return ast.parse((ROOT / module).read_text(encoding="utf-8"))


def modules_by_public_name(kind):
    """Where a class or function of the package's top level is defined, by its name.

    A command of `experiments` is called `main`, and `alignsam` names its functions as it names its commands.
    """
    found = defaultdict(set)
    for module in PACKAGE:
        for node in tree_of(module).body:
            public = isinstance(node, kind) and not node.name.startswith("_") and node.name != "main"
            if public and module.name != "cli.py":
                found[node.name].add(module.as_posix())
    return found


def differ_by_an_ending(one, other):
    alike = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    stem = "".join(letter for letter, _ in alike)
    return len(stem) > 2 and {one.removeprefix(stem), other.removeprefix(stem)} <= ENDINGS


def test_no_file_is_long():
    lengths = {module.as_posix(): len((ROOT / module).read_text("utf-8").splitlines()) for module in MODULES}
    assert {name for name, lines in lengths.items() if lines > LONGEST_FILE} == set()


def test_no_two_modules_have_one_name():
    found = defaultdict(list)
    for module in MODULES:
        if module.stem not in NAMED_BY_PYTHON:
            found[module.stem].append(module.as_posix())
    assert not {name: places for name, places in found.items() if len(places) > 1}


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("evaluate", "evaluation", True),
        ("rival", "rivals", True),
        ("report", "reporting", True),
        ("train", "trainer", True),
        ("sam2", "sam_hq", False),
        ("heads", "hub", False),
        ("test_episode", "test_episode_srm", False),
    ],
)
def test_names_that_differ_by_an_ending_are_known(one, other, alike):
    assert differ_by_an_ending(one, other) == alike


def test_no_two_neighbours_differ_by_an_ending_alone():
    neighbours = defaultdict(set)
    for module in MODULES:
        is_package = module.stem == "__init__"
        place = module.parent if is_package else module
        if is_package or module.stem not in NAMED_BY_PYTHON:
            neighbours[place.parent].add(place.stem)
    pairs = [pair for names in neighbours.values() for pair in itertools.combinations(sorted(names), 2)]
    assert not [pair for pair in pairs if differ_by_an_ending(*pair)]


def test_no_function_takes_many_parameters():
    long = set()
    for module in PACKAGE:
        most = MOST_OPTIONS if module.name == "cli.py" else MOST_PARAMETERS
        for node in ast.walk(tree_of(module)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                if len([each for each in arguments if each.arg not in ("self", "cls")]) > most:
                    long.add(f"{module.as_posix()}: {node.name}")
    assert not long


def test_no_two_classes_have_one_name():
    found = modules_by_public_name(ast.ClassDef)
    assert {name for name, places in found.items() if len(places) > 1} == RECIPE & {"Trainer"}


def test_no_two_functions_have_one_name():
    found = modules_by_public_name(ast.FunctionDef)
    assert {name for name, places in found.items() if len(places) > 1} == RECIPE - {"Trainer"}
