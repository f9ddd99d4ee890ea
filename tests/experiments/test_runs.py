import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from alignsam_gym.errors import OptionError
from experiments.runs import alone_in, check_limit, chosen_ways, report_errors

HOLD = """
import sys
from pathlib import Path
from experiments.runs import alone_in
with alone_in(Path(sys.argv[1])):
    print("in", flush=True)
    sys.stdin.read()
"""


def test_one_process_at_a_time_is_in_a_folder(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "in\n"
        with pytest.raises(OptionError, match=str(tmp_path)), alone_in(tmp_path):
            pytest.fail("let in")
        other.kill()  # leaves no lock behind
        other.wait()
        with alone_in(tmp_path):
            pass


@pytest.mark.parametrize(
    ("mistake", "says"),
    [
        (lambda config: config.run, "error: Missing mandatory value: run"),
        (lambda config: config.nothing, "error: Key 'nothing' is not in struct"),
        (lambda config: check_limit(config.limit), "error: evaluate.limit=0: at least one test image is measured."),
    ],
)
def test_a_users_mistake_ends_a_command_with_its_message(mistake, says):
    config = OmegaConf.create({"run": "???", "limit": 0})
    OmegaConf.set_struct(config, True)
    with pytest.raises(SystemExit) as ended:
        report_errors(mistake)(config)
    assert ended.value.code == says


@pytest.mark.parametrize("name", ["ways", "filmstrip_ways"])
def test_one_way_of_prompting_must_be_in_a_list(make_toy_vec, name):
    config = OmegaConf.create({"seed": 0, "evaluate": {"limit": None, "deterministic": True, name: "agent"}})
    with pytest.raises(OptionError, match=rf"evaluate.{name}=agent: a list, such as \[agent\]"):
        chosen_ways(config, make_toy_vec(1).unwrapped.episode, None)
