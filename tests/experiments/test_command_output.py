"""Neither a terminal's encoding nor a reader that has left ends a command."""

import io
import os
import subprocess
import sys

import pytest

from alignsam_gym.agents.trained_run import METRICS_FILE
from alignsam_gym.experiments.command_output import prepare_output
from alignsam_gym.result_table import ResultTable
from tests.conftest import ROOT
from tests.experiments.small import HARDLY_EVALUATED, SMALL

TERMINALS = [
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "cp1252"},
    {"PYTHONIOENCODING": "utf-8"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
]
PROGRAM = """
import logging
from rich.progress import track
from alignsam_gym.experiments.command_line import exit_on_user_error
from alignsam_gym.experiments.command_output import prepare_output
from alignsam_gym.errors import DataError
from alignsam_gym.result_table import ResultTable

prepare_output()
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
        prepare_output()
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


def without_a_reader(program, both):
    """What a program returns and writes to its standard error, if whoever reads its output leaves at once.

    both: the standard error goes into the same pipe, as by ``2>&1 | head``.
    """
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    reading, writing = os.pipe()
    os.close(reading)
    try:
        return subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONPATH": path},
            stdout=writing,
            stderr=writing if both else subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(writing)


@pytest.mark.parametrize("both", [False, True])
def test_a_process_goes_on_when_nobody_reads_its_output(both, tmp_path):
    done = without_a_reader(
        f"""
import logging, pathlib, sys, rich, typer
from alignsam_gym.experiments.command_output import prepare_output
prepare_output()
prepare_output()
logging.basicConfig(stream=sys.stdout, level="INFO")
for number in range(9):
    print("line", flush=True)
    rich.print("[bold]line[/bold]")
    typer.echo("line")
    typer.echo("line", err=True)
    logging.info("line")
pathlib.Path({str(tmp_path / "results")!r}).write_text("written")
print("last line")
""",
        both,
    )
    assert done.returncode == 0
    assert both or done.stderr == "line\n" * 9
    assert (tmp_path / "results").read_text() == "written"


def test_output_that_is_read_is_as_before(run_python):
    program = "import sys; from alignsam_gym.experiments.command_output import prepare_output; prepare_output(); "
    assert run_python(program + "print('é', end=''); print(sys.stdout.encoding, sys.stdout.isatty())") == (
        run_python("import sys; print('é', end=''); print(sys.stdout.encoding, sys.stdout.isatty())")
    )


def test_unbuffered_output_stays_so(run_python, monkeypatch):
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    program = "from alignsam_gym.experiments.command_output import prepare_output; prepare_output(); print('at once'); "
    assert run_python(program + "import os; os._exit(0)") == "at once\n"


@pytest.mark.slow
def test_a_training_without_a_reader_is_finished(tmp_path):
    arguments = ["train", f"hydra.run.dir={tmp_path}", *SMALL, *HARDLY_EVALUATED]
    done = without_a_reader(
        f"import sys; sys.argv[1:] = {arguments}; from alignsam_gym.experiments.cli import main; main()", both=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert {METRICS_FILE, "policy.safetensors", "srm.safetensors"} <= {file.name for file in tmp_path.iterdir()}
