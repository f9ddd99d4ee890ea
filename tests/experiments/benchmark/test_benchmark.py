import json
import platform
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest

from alignsam_gym.experiments.benchmark import Benchmark
from alignsam_gym.experiments.benchmark.run_benchmark import FUNCTIONS, processor
from alignsam_gym.experiments.cli import run_from_module


def benchmark(name, output):
    command = [sys.executable, "-m", "experiments.benchmark", name, "--sam=tiny", "--quick", f"--output={output}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    last = done.stdout.strip().splitlines()[-1]
    measured = json.loads((output / f"{name}.json").read_text())
    assert last.startswith(f"{name}: ratio {measured['ratio']:.2f} ")
    return measured


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("--threads=0", "threads=0: at least one computes"),
        ("--output={file}", "is no folder .File exists.; name another"),
        ("--output={file}/deep", "is no folder .Not a directory.; name another"),
        ("--device=cuda:99", "device='cuda:99'"),
    ],
)
def test_a_mistake_is_a_message(tmp_path, monkeypatch, argument, says):
    (tmp_path / "file").touch()
    monkeypatch.setattr("sys.argv", ["benchmark", "decode", argument.format(file=tmp_path / "file")])
    with pytest.raises(SystemExit, match=f"error: .*{says}"):
        run_from_module("benchmark")


def test_every_benchmark_that_is_offered_is_one():
    assert list(FUNCTIONS) == list(Benchmark)


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ({"return_value": "vendor_id\t: x\nmodel name\t: A CPU @ 3 GHz\nmodel name\t: another\n"}, "A CPU @ 3 GHz"),
        ({"return_value": "Features\t: fp\n"}, platform.machine()),
        ({"side_effect": FileNotFoundError}, platform.machine()),
    ],
)
def test_the_processor_has_a_name(monkeypatch, told, name):
    monkeypatch.setattr(Path, "read_text", Mock(**told))
    monkeypatch.setattr("platform.processor", lambda: "")
    assert processor() == name


@pytest.mark.slow
def test_decode_reports_a_ratio_and_equal_answers(tmp_path):
    measured = benchmark("decode", tmp_path)
    assert all(row["largest_difference"] < 1e-3 for row in measured["rows"])
    assert all(row[way]["median"] > 0 for row in measured["rows"] for way in ("ours", "segment_anything"))


@pytest.mark.slow
def test_env_reports_every_implementation(tmp_path):
    measured = benchmark("env", tmp_path)
    others = {"ours, SRM frozen", "bare decoder", "reference", "reference, no SRM"}
    assert set(measured["strategies"]) == {"ours"} | others
    assert measured["ratio"] == measured["compared"]["bare decoder"]["ratio"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train", "evaluate"])
def test_whole_jobs_are_compared_with_the_reference_implementation(tmp_path, name):
    assert benchmark(name, tmp_path)["ratio"] > 0


@pytest.mark.slow
def test_memory_reports_rollouts_and_growth(tmp_path):
    measured = benchmark("memory", tmp_path)
    values = 128 * 100 * 2, 128 * 32 * 32 * 4
    assert measured["ratio"] == pytest.approx(values[1] / values[0], rel=0.01)
    assert [row["size"] for row in measured["growth"]] == [1, 2]
    assert all(row["seconds"] > 0 and row["peak"] > 2**27 for row in measured["growth"])
    assert (tmp_path / "memory.png").stat().st_size > 5000


@pytest.mark.slow
def test_store_reports_rates_sizes_and_starts(tmp_path):
    measured = benchmark("store", tmp_path)
    half = 2 * 128 * 32 * 32
    assert half < measured["records"]["read"]["bytes"] < half + 500
    assert all(measured["records"][what]["ours"]["median"] > 0 for what in ("read", "write"))
    assert all(seconds > 0 for kind in ("cold", "warm") for seconds in measured["starts"][kind])
