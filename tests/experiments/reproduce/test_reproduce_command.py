"""The command as a user types it, with runs that take seconds."""

import csv
import os
import signal
import subprocess
import sys
import time

import pytest

TINY = [
    "episodes=1", "env.num_envs=4", "env.shots=4", "env.max_steps=3", "srm.width=8", "srm.final_updates=2",
    "agent.n_epochs=1", "agent.batch_size=6", "evaluate.limit=2", "evaluate.batch_size=2", "evaluate.filmstrips=0",
]  # fmt: skip


def arguments(output, *further):
    """With two jobs, though there is one run at a time: its threads are as many as the cores, divided by the jobs."""
    tasks = [f"tasks.{task}=shapes" for task in ("blur", "shadow", "glass", "saliency")]
    overrides = "overrides=[" + ",".join(f"'{each}'" for each in TINY) + "]"
    command = [
        sys.executable,
        "-m",
        "alignsam_gym.experiments.reproduce",
        "table=2",
        "baselines=[]",
        "resamples=20",
        "jobs=2",
        *tasks,
    ]
    return [*command, overrides, f"output='{output}'", *further]


@pytest.mark.slow
def test_a_table_is_measured_on_drawn_scenes(tmp_path):
    output = tmp_path / "out"
    done = subprocess.run(arguments(output, "seeds=[0]"), capture_output=True, text=True, timeout=500, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    with (output / "table2.csv").open() as file:
        line = next(
            line for line in csv.DictReader(file) if (line["row"], line["column"]) == ("ours", "saliency e_phi")
        )
    assert 0 < float(line["mean"]) <= 101
    assert line["seeds"] == "1"
    assert len(list((output / "runs").rglob("metrics.json"))) == 1  # all four tasks are one here


@pytest.mark.slow
def test_an_ending_reaches_the_runs_too_and_failures_end_with_a_status(tmp_path):
    output = tmp_path / "out"
    command = arguments(output, "seeds=[0]")
    command[-3] = command[-3].replace("episodes=1", "episodes=900")
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # as in the background
    )  # fmt: skip
    deadline = time.time() + 120
    checkpoint = output / "runs/shapes/default/seed=0/checkpoint.pt"
    while not checkpoint.exists() and time.time() < deadline:
        time.sleep(0.2)
    os.kill(process.pid, signal.SIGTERM)
    text, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "the same command goes on" in text
    assert "Traceback" not in text
    assert "Traceback" not in (checkpoint.parent / "log.txt").read_text()
    checkpoint.write_bytes(b"broken")
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert "is damaged" in (output / "table2.md").read_text()
    assert "cells could not be measured" in done.stderr
