import json
import subprocess
import sys

import pytest
import torch

from experiments.benchmark import alternate


def test_ways_take_turns_and_the_first_round_is_not_counted():
    calls = []
    ways = {"ours": lambda: calls.append("ours"), "theirs": lambda: calls.append("theirs")}
    seconds = alternate(ways, 3, torch.device("cpu"))
    assert calls == ["ours", "theirs"] * 4
    assert [len(times) for times in seconds.values()] == [3, 3]


@pytest.mark.slow
def test_decode_reports_a_ratio_and_equal_answers(tmp_path):
    command = [sys.executable, "-m", "experiments.benchmark", "decode", "--sam=tiny", "--quick", f"--output={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    last = done.stdout.strip().splitlines()[-1]
    assert last.startswith("decode: ratio ")
    measured = json.loads((tmp_path / "decode.json").read_text())
    assert f"{measured['ratio']:.2f}" in last
    assert all(row["largest_difference"] < 1e-3 for row in measured["rows"])
    assert all(row[way]["median"] > 0 for row in measured["rows"] for way in ("ours", "segment_anything"))
