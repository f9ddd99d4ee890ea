"""The suite for a GPU, which runs on the CPU with small sizes."""

import json

import pytest
import torch

from alignsam_gym.experiments.benchmark import gpu_suite
from alignsam_gym.experiments.benchmark.device_checks import check_device
from alignsam_gym.experiments.benchmark.device_usage import device_usage, read_samples
from alignsam_gym.experiments.cli import run_from_module

ROW = {"sam": "tiny", "precision": "float32", "batch": 2, "ratio": 3.0}


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs the command with the given parts; returns what it wrote."""

    def run(parts, status=0):
        monkeypatch.setattr("sys.argv", ["benchmark", "gpu", "--device=cpu", f"--output={tmp_path}"])
        monkeypatch.setattr(gpu_suite, "PARTS", parts)
        with pytest.raises(SystemExit) as ended:
            run_from_module("benchmark")
        assert bool(ended.value.code) == bool(status), ended.value
        return json.loads((tmp_path / "gpu.json").read_text())

    return run


def test_a_part_that_fails_does_not_stop_the_others(run, capsys):
    def fail(device, sizes):
        raise RuntimeError("out of memory")

    parts = {
        "steps": fail,
        "checks": lambda *_: {"holds": False},
        "decode": lambda device, sizes: {"rows": [ROW, ROW | {"precision": "bfloat16"}]},
    }
    measured = run(parts, status=1)
    assert measured["failed"] == ["steps", "checks"]
    assert "out of memory" in measured["steps"]["error"]
    assert measured["ratio"] == 3
    assert all(measured[part]["usage"]["seconds"] >= 0 for part in ("checks", "decode"))
    assert "This is no GPU" in capsys.readouterr().out


def test_what_would_begin_too_late_is_left_out(run, monkeypatch):
    monkeypatch.setattr(gpu_suite, "_LAST_START", -1.0)
    measured = run({"decode": lambda device, sizes: {"rows": [ROW]}}, status=1)
    assert "decode was left out" in measured["decode"]["error"]


def test_what_was_measured_is_kept_when_the_command_is_interrupted(run, tmp_path):
    def interrupt(device, sizes):
        raise KeyboardInterrupt

    measured = run({"decode": lambda device, sizes: {"rows": [ROW]}, "steps": interrupt}, status=130)
    assert measured["decode"]["rows"] == [ROW]


def test_samples_of_the_card_are_averaged_and_broken_lines_left_out():
    lines = iter(["100, 20\n", "300, 70\n", "[N/A], 5\n", "40"])
    assert read_samples(lines) == {"peak_used_mib": 300, "utilisation_percent": 45}
    assert read_samples(iter([])) == {}


def test_usage_is_told_when_the_block_has_ended():
    with device_usage(torch.device("cpu")) as usage:
        assert not usage
    assert usage["seconds"] >= 0
    assert usage["peak_host_mib"] > 50


@pytest.mark.slow
@pytest.mark.parametrize(
    "device",
    ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA"))],
)
def test_the_checks_hold(device):
    assert check_device(device)["holds"]


@pytest.mark.slow
def test_every_other_part_runs_on_a_cpu(run):
    measured = run({name: part for name, part in gpu_suite.PARTS.items() if name != "checks"})
    assert measured["device"] == "cpu"
    assert measured["quick"]
    assert not measured["failed"]
    assert [row["batch"] for row in measured["decode"]["rows"]] == [1, 2, 1, 2]
    assert measured["decode"]["rows"][2]["largest_difference"] < 1e-3
    assert all(row["steps_per_second"]["training"] > 0 for row in measured["steps"]["rows"])
    assert measured["whole_run"]["timesteps"] == 8
    assert measured["encode"]["rows"][0]["images_per_second"] > 0
