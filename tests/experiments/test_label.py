import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from alignsam_gym.experiments.cli import _sam_keys, app


def told(*arguments, status=1):
    result = CliRunner().invoke(app, ["label", *map(str, arguments)])
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.output
    return " ".join(result.output.split())


def test_what_cannot_be_labelled_is_one_line(tmp_path):
    assert told(tmp_path / "nowhere") == f"error: There is no folder {tmp_path / 'nowhere'}."
    assert told(tmp_path).startswith(f"error: {tmp_path} holds no PNG, JPEG")
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
    assert "sam='vit_x' is unknown" in told(tmp_path, "--sam", "vit_x")


def test_a_training_has_the_sam_of_the_page():
    assert _sam_keys("tiny") == []
    assert _sam_keys("vit_b") == ["sam=vit_b"]
    assert _sam_keys("hf:me/sam") == ["sam=hf:me/sam"]
    assert _sam_keys("tuned.pth") == [f"env.sam={Path.cwd() / 'tuned.pth'}"]


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_the_page_is_served_until_it_is_ended(tmp_path, end):
    pytest.importorskip("starlette", reason="the extra demo is not installed")
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
    command = [sys.executable, "-m", "alignsam_gym.experiments.cli", "label", tmp_path, "--port", "0"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    served = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # in the background it is ignored
    )  # fmt: skip
    try:
        greeting = served.stdout.readline()
        address = re.match(r"Photographs: 1\. Label them at (http://127\.0\.0\.1:[1-9]\d*) ", greeting)
        assert address, greeting
        served.stdout.readline()
        command = served.stdout.readline().split()
        assert command[:3] == ["alignsam", "train", "dataset=folder"]
        with urllib.request.urlopen(f"{address[1]}/state") as answer:
            assert answer.status == 200
    finally:
        served.send_signal(end)
        rest, _ = served.communicate(timeout=600)
    assert "Traceback" not in rest
    assert served.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[end]
