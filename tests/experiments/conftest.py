"""The command line in this process or in others, and a folder of photographs for it."""

import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from alignsam_gym.experiments.cli import app
from tests.conftest import ROOT


@pytest.fixture
def alignsam():
    """Runs the command in this process; gives its exit status and all that it prints."""

    def run(*arguments, status=0):
        result = CliRunner().invoke(app, [str(one) for one in arguments])
        assert result.exit_code == status, result.output
        assert "Traceback" not in result.output
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return " ".join(result.output.split())  # however wide a line is

    return run


@pytest.fixture(scope="session")
def command(tmp_path_factory):
    """Runs the command in a process of its own, which must end with the given status; returns what it printed."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.experiments.command_server"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ,
    ) as server:  # fmt: skip

        def run(*arguments, status=0):
            folder = tmp_path_factory.mktemp("command")
            server.stdin.write(json.dumps([[str(one) for one in arguments], str(folder)]) + "\n")
            server.stdin.flush()
            ended = int(server.stdout.readline())
            stdout, stderr = ((folder / name).read_text() for name in ("stdout", "stderr"))
            assert ended == status, stdout + stderr
            return subprocess.CompletedProcess(arguments, ended, stdout, stderr)

        yield run
        server.stdin.close()


@pytest.fixture
def photos(tmp_path):
    """A wide and a tall image, one of them in a folder."""
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    for name, size in (("wide.jpg", (30, 70)), ("deep/tall.png", (80, 20))):
        image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / name), image)
    return folder
