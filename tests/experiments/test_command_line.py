import os
import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from alignsam_gym.agents.trained_run import METRICS_FILE
from alignsam_gym.errors import DataError
from alignsam_gym.experiments.command_line import exit_on_user_error
from tests.conftest import ROOT
from tests.experiments.small import SMALL


@exit_on_user_error
def fail(error):
    raise error


def missing_value():
    return OmegaConf.create({"dataset": {"root": "???"}}).dataset.root


def wrong_type():
    config = OmegaConf.create({"seed": 0})
    OmegaConf.set_struct(config, True)
    return config.sead


def test_a_users_mistake_is_the_last_line_without_a_traceback():
    with pytest.raises(SystemExit, match=r"^error: no images in here$"):
        fail(DataError("no images in here"))


@pytest.mark.parametrize(
    ("action", "message"),
    [(missing_value, r"^error: dataset\.root is needed: give dataset\.root=…\.$"), (wrong_type, "^error: Key 'sead'")],
)
def test_a_mistake_in_the_configuration_is_told_likewise(action, message):
    with pytest.raises(SystemExit, match=message), exit_on_user_error:
        action()


def test_an_interruption_has_the_shells_exit_status():
    with pytest.raises(SystemExit, match="130"):
        fail(KeyboardInterrupt())


def test_a_defect_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError), exit_on_user_error:
        1 / 0  # noqa: B018


def test_what_succeeds_returns_its_result():
    assert exit_on_user_error(lambda: 3)() == 3


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
from alignsam_gym.experiments.command_line import outlive_readers
outlive_readers()
outlive_readers()
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
    program = "import sys; from alignsam_gym.experiments.command_line import outlive_readers; outlive_readers(); "
    assert run_python(program + "print('é', end=''); print(sys.stdout.encoding, sys.stdout.isatty())") == (
        run_python("import sys; print('é', end=''); print(sys.stdout.encoding, sys.stdout.isatty())")
    )


def test_unbuffered_output_stays_so(run_python, monkeypatch):
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    program = "from alignsam_gym.experiments.command_line import outlive_readers; outlive_readers(); print('at once'); "
    assert run_python(program + "import os; os._exit(0)") == "at once\n"


@pytest.mark.slow
def test_a_training_without_a_reader_is_finished(tmp_path):
    arguments = ["train", f"hydra.run.dir={tmp_path}", *SMALL]
    done = without_a_reader(
        f"import sys; sys.argv[1:] = {arguments}; from alignsam_gym.experiments.cli import main; main()", both=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert {METRICS_FILE, "policy.safetensors", "srm.safetensors"} <= {file.name for file in tmp_path.iterdir()}
