import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
NAMED = re.findall(r"`(\S+\.py)::(test_\w+)`", (TESTS / "inputs.md").read_text(encoding="utf-8"))


def test_every_test_that_the_table_of_inputs_names_exists():
    assert len(NAMED) > 30
    missing = []
    for file, test in NAMED:
        tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
        if test not in [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]:
            missing.append(f"{file}::{test}")
    assert not missing
