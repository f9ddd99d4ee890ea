"""The command as a user types it, with runs that take seconds."""

import csv
import os
import signal
import subprocess
import sys
import time

import pytest

TINY = [
    "episodes=20", "env.num_envs=4", "env.shots=4", "env.max_steps=3", "srm.width=8", "policy.width=8",
    "agent.n_epochs=1", "agent.batch_size=6", "evaluate.limit=4", "evaluate.batch_size=4",
]  # fmt: skip


def arguments(output, *further):
    tasks = [f"tasks.{task}=shapes" for task in ("blur", "shadow", "glass", "saliency")]
    overrides = "overrides=[" + ",".join(f"'{each}'" for each in TINY) + "]"
    command = [sys.executable, "-m", "experiments.reproduce", "table=2", "baselines=[]", "resamples=20", *tasks]
    return [*command, overrides, f"output='{output}'", *further]


@pytest.mark.slow
def test_a_table_is_measured_on_drawn_scenes_and_an_ending_reaches_its_runs(tmp_path):
    output = tmp_path / "out"
    command = arguments(output, "seeds=[0]")
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # as in the background
    )  # fmt: skip
    deadline = time.time() + 120
    run = output / "runs/shapes/default/seed=0"
    while not (run / "checkpoint.pt").exists() and time.time() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    text, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "the same command goes on" in text
    assert "Traceback" not in text
    assert "Traceback" not in (run / "log.txt").read_text()

    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    with (output / "table2.csv").open() as file:
        line = next(
            line for line in csv.DictReader(file) if (line["row"], line["column"]) == ("ours", "saliency e_phi")
        )
    assert 0 < float(line["mean"]) <= 101
    assert line["seeds"] == "1"
    assert list((output / "runs").rglob("metrics.json")) == [run / "metrics.json"]  # all four tasks are one here
