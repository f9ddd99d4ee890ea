import subprocess
import sys

import pytest

from alignsam_gym.errors import OptionError
from alignsam_gym.experiments.run_lock import run_lock

HOLD = """
import sys
from pathlib import Path
from alignsam_gym.experiments.run_lock import run_lock
with run_lock(Path(sys.argv[1])):
    print("in", flush=True)
    sys.stdin.read()
"""


def test_one_process_at_a_time_is_in_a_folder(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "in\n"
        with pytest.raises(OptionError, match=str(tmp_path)), run_lock(tmp_path):
            pytest.fail("let in")
        other.kill()  # leaves no lock behind
        other.wait()
        with run_lock(tmp_path):
            pass
