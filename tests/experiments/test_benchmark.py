import json
import subprocess
import sys

import pytest


def benchmark(name, output):
    command = [sys.executable, "-m", "experiments.benchmark", name, "--sam=tiny", "--quick", f"--output={output}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    last = done.stdout.strip().splitlines()[-1]
    measured = json.loads((output / f"{name}.json").read_text())
    assert last.startswith(f"{name}: ratio {measured['ratio']:.2f} ")
    return measured


@pytest.mark.slow
def test_decode_reports_a_ratio_and_equal_answers(tmp_path):
    measured = benchmark("decode", tmp_path)
    assert all(row["largest_difference"] < 1e-3 for row in measured["rows"])
    assert all(row[way]["median"] > 0 for row in measured["rows"] for way in ("ours", "segment_anything"))


@pytest.mark.slow
def test_store_reports_rates_sizes_and_starts(tmp_path):
    measured = benchmark("store", tmp_path)
    half = 2 * 128 * 32 * 32
    assert half < measured["records"]["read"]["bytes"] < half + 500
    assert all(measured["records"][what]["ours"]["median"] > 0 for what in ("read", "write"))
    assert all(seconds > 0 for kind in ("cold", "warm") for seconds in measured["starts"][kind])
