"""What a terminal's encoding lacks is printed as something readable, and ends no command."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from alignsam_gym.experiments.command_line import print_in_any_encoding
from alignsam_gym.result_table import ResultTable

ROOT = Path(__file__).parents[2]
TERMINALS = [
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "cp1252"},
    {"PYTHONIOENCODING": "utf-8"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
]
PROGRAM = """
import logging
from rich.progress import track
from alignsam_gym.experiments.command_line import exit_on_user_error, print_in_any_encoding
from alignsam_gym.errors import DataError
from alignsam_gym.result_table import ResultTable

print_in_any_encoding()
logging.basicConfig()
logging.warning("zwölf Bilder …")
for _ in track(range(2), "scoring …"):
    pass
ResultTable(["F_β", "写真"], [["69.4 ± 2.4", "½"]], "“a” — 64 × 64").print()
print("after all")
with exit_on_user_error:
    raise DataError("写真/été.png − \\udcff")
"""


def run(environment, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, timeout=120)
    assert b"Traceback" not in done.stderr
    assert b"Logging error" not in done.stderr
    return done


@pytest.fixture
def stream(monkeypatch):
    """Makes stdout a terminal of an encoding; gives what was printed."""

    def make(encoding):
        raw = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding, write_through=True))
        print_in_any_encoding()
        return raw

    return make


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [("ascii", "69.4 +/- 2.4 x ete -> 1/2 beta ? ..."), ("cp1252", "69.4 ± 2.4 × été -> ½ beta ? …")],
)
def test_only_what_an_encoding_lacks_is_replaced(stream, encoding, expected):
    printed = stream(encoding)
    print("69.4 ± 2.4 × été → ½ β 写 …", end="")
    assert printed.getvalue().decode(encoding) == expected


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "cp437", "shift_jis", "koi8-r"])
def test_no_character_ends_a_command(stream, encoding):
    printed = stream(encoding)
    every = "".join(map(chr, [*range(32, 0x3000, 7), 0x5199, 0xD800, 0xDCFF, 0x1F600]))
    print(every)
    ResultTable(["β"], [["写真 ±"]], every[:100]).print()
    assert len(printed.getvalue()) > 100


@pytest.mark.parametrize("environment", TERMINALS, ids=lambda each: "-".join(each.values()))
def test_tables_progress_logs_and_errors_are_printed_in_any_terminal(environment, tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    done = run(environment, tmp_path / "program.py")
    assert done.returncode == 1
    assert b"after all" in done.stdout
    assert b"64" in done.stdout
    assert done.stderr.splitlines()[-1].startswith(b"error: ")


@pytest.mark.slow
@pytest.mark.parametrize("environment", TERMINALS[:2], ids=lambda each: "-".join(each.values()))
@pytest.mark.parametrize("arguments", [["weights"], ["--help"], ["train", "--help"], ["predict", "--help"]])
def test_commands_and_their_help_end_well_in_any_terminal(environment, arguments):
    done = run(environment, "-m", "alignsam_gym.experiments.cli", *arguments)
    assert done.returncode == 0
    done.stdout.decode(environment["PYTHONIOENCODING"])
