"""The commands as a user types them, on a job small enough to finish in seconds."""

import json
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import cv2
import pytest
import torch
import yaml

from alignsam_gym.experiments.run_lock import run_lock
from tests.experiments.small import HARDLY_EVALUATED, SMALL

ENDED_AFTER_A_BATCH = """
import signal
from alignsam_gym.experiments.evaluate import main
from alignsam_gym.evaluation.resume_log import ResumeLog

append = ResumeLog.append

def append_and_end(resume_log, records):
    append(resume_log, records)
    with resume_log.path.open("a") as file:
        file.write('{"id": "half a li')
    signal.raise_signal(signal.SIGINT)

ResumeLog.append = append_and_end
main()
"""


@contextmanager
def started(*arguments):
    """A Python process that does not outlive the block. Where a shell runs the tests in the background, SIGINT is
    ignored unless restored."""
    with subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def trained(tmp_path_factory, command):
    folder = tmp_path_factory.mktemp("run")
    done = command("train", *SMALL, f"hydra.run.dir={folder}")
    assert "oracle" in done.stdout
    return folder


@pytest.mark.slow
def test_training_leaves_all_that_it_promises(trained):
    for name in ("config.yaml", "versions.json", "learning_curve.png", "filmstrip.png", "policy.safetensors"):
        assert (trained / name).stat().st_size > 0
    assert list((trained / "tensorboard").rglob("events.*"))
    metrics = json.loads((trained / "metrics.json").read_text())
    assert metrics["timesteps"] == 2 * 4 * 3
    assert set(metrics["prompting"]) >= {"agent", "random", "srm", "oracle"}
    for summary in metrics["prompting"].values():
        assert summary["images"] == 3
        assert len(summary["miou_by_step"]) == 4
        assert 0 <= summary["foreground_rate"] <= 1
    config = yaml.safe_load((trained / "config.yaml").read_text())
    assert config["env"]["shots_seed"] == config["seed"] == 0
    assert cv2.imread(str(trained / "filmstrip.png")) is not None


@pytest.mark.slow
def test_a_used_folder_takes_no_other_training(command, trained):
    before = (trained / "metrics.json").read_bytes()
    done = command("train", *SMALL, f"hydra.run.dir={trained}", "env.reward=foreground", status=1)
    assert "holds a training with another env.reward" in done.stderr
    assert "reward: delta_iou" in (trained / "config.yaml").read_text()
    assert (trained / "metrics.json").read_bytes() == before


@pytest.mark.slow
def test_a_mistaken_evaluation_changes_nothing(command, trained, tmp_path):
    kept = {name: (trained / name).read_bytes() for name in ("metrics.json", "config.yaml")}
    for name in kept:
        shutil.copy(trained / name, tmp_path)  # what an evaluation writes
    done = command("evaluate", f"run={trained}", f"output={tmp_path}", "evaluate.strategies=[agnet]", status=1)
    assert "evaluate.strategies='agnet' is unknown" in done.stderr
    assert kept == {name: (tmp_path / name).read_bytes() for name in kept}


@pytest.mark.slow
def test_evaluation_repeats_what_training_measured(command, trained, tmp_path):
    command("evaluate", f"run={trained}", f"output={tmp_path}")
    again, first = (json.loads((place / "metrics.json").read_text()) for place in (tmp_path, trained))
    assert again["prompting"] == first["prompting"]
    assert again["measured_on"] == "shapes"
    assert (tmp_path / "config.yaml").read_text() == (trained / "config.yaml").read_text()
    other = f"run={trained}", f"output={tmp_path}", "evaluate.limit=1", f"cache_dir={tmp_path / 'cache'}"
    done = command("evaluate", *other, status=1)
    assert f"error: {tmp_path} holds an evaluation with another evaluate.limit; name" in done.stderr
    assert json.loads((tmp_path / "metrics.json").read_text()) == again


@pytest.mark.slow
def test_an_interrupted_evaluation_goes_on_and_its_masks_score_alike(command, trained, tmp_path):
    arguments = [f"run={trained}", f"output={tmp_path}", "evaluate.save_predictions=true", "dataset=shapes-shadow"]
    arguments += ["evaluate.limit=6", "evaluate.batch_size=2", "evaluate.strategies=['agent, true labels']"]
    resume_log = tmp_path / "evaluation.jsonl"
    with started("-c", ENDED_AFTER_A_BATCH, *arguments) as process:
        output, _ = process.communicate(timeout=120)
    assert "Traceback" not in output
    assert process.returncode == 130
    assert f"goes on from {resume_log}" in output
    done = command("evaluate", *arguments)
    assert "2 of 6 images were evaluated before" in done.stdout
    assert not resume_log.exists()
    summary = json.loads((tmp_path / "metrics.json").read_text())["prompting"]["agent, true labels"]
    command("score", f"predictions={tmp_path}/predictions/agent_true_labels", "dataset=shapes-shadow", "on_error=skip")
    scores = json.loads((tmp_path / "predictions/agent_true_labels/scores.json").read_text())
    assert scores["metrics"] == summary["metrics"]


@pytest.mark.slow
def test_multirun_sweeps(command, tmp_path):
    sweep = ["train", "-m", *SMALL, *HARDLY_EVALUATED, "env.max_steps=2,3", f"hydra.sweep.dir={tmp_path}"]
    command(*sweep)
    lengths = {}
    for file in tmp_path.glob("*/metrics.json"):
        overrides = yaml.safe_load((file.parent / ".hydra" / "overrides.yaml").read_text())
        [swept] = [each for each in overrides if each.startswith("env.max_steps=")]
        lengths[swept] = len(json.loads(file.read_text())["prompting"]["agent"]["miou_by_step"])
    assert lengths == {"env.max_steps=2": 3, "env.max_steps=3": 4}
    assert "going on from step" in command(*sweep).stdout
    assert len(list(tmp_path.glob("*/metrics.json"))) == 2


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_training_goes_on(command, tmp_path, sign):
    checkpoint = tmp_path / "checkpoint.pt"

    def state():
        return torch.load(checkpoint, weights_only=True) if checkpoint.exists() else {"history": []}

    endless = [*SMALL, *HARDLY_EVALUATED, "episodes=1000000", f"hydra.run.dir={tmp_path}"]
    with started("-m", "experiments.train", *endless) as process:
        deadline = time.monotonic() + 120
        while not state()["history"]:
            assert process.poll() is None, process.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(sign)
        output, _ = process.communicate(timeout=60)
    assert "Traceback" not in output
    if sign == signal.SIGINT:
        assert process.returncode == 130
        assert f"resume={tmp_path}" in output
    after_an_hour = state()
    after_an_hour["history"][0]["seconds"] = 3600
    torch.save(after_an_hour, checkpoint)
    rounds = len(after_an_hour["history"])
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    config["episodes"] = rounds + 2  # enough will have been learned
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    done = command("train", f"resume={tmp_path}", f"hydra.run.dir={tmp_path / 'log'}")
    assert f"going on from step {rounds * 4 * 3}" in done.stdout
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["timesteps"] == (rounds + 2) * 4 * 3
    assert metrics["training_minutes"] >= 60


@pytest.mark.slow
def test_a_second_training_is_not_let_into_a_folder(command, trained, tmp_path):
    with run_lock(trained):
        second = command("train", f"resume={trained}", f"hydra.run.dir={tmp_path}", status=1)
    assert f"Another process is at work in {trained}" in second.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train", "dataset=folder", "dataset.root=nowhere"], "no folder nowhere"),
        (["train", "env.patch_size=33"], "patch_size=33"),
        (["train", "episodes=abc"], "error: episodes=abc: Value 'abc'"),
        (["train", "seed=-1"], "seed=-1"),
        (["train", "env.shots=many"], "error: env.shots=many: Value 'many'"),
        (["train", "srm.width=abc"], "error: srm.width=abc: Value 'abc'"),
        (["train", "srm.dropout=abc"], "error: srm.dropout=abc: Value 'abc'"),
        (["train", "env.num_envs=2.5"], "error: env.num_envs=2.5"),
        (["train", "agent.learning_rate=abc"], "agent.learning_rate='abc': it must be a number"),
        (["train", "agent.batch_size=1"], "agent=ppo cannot be made of these options"),
        (["train", "evaluate.batch_size=0"], "evaluate.batch_size=0"),
        (["baseline", "evaluate.batch_size=0"], "evaluate.batch_size=0"),
        (["embed", "batch_size=0"], "batch_size=0"),
        (["summarize", "runs=nowhere", "resamples=0"], "resamples=0"),
        (["report", "run_dirs=nowhere", "resamples=0"], "resamples=0"),
        (["train", "env.label_source=psychic"], "srm, last, clip, positive, oracle"),
        (["embed", "shard=0.5"], "error: shard=0.5: Value '0.5'"),
        (["train", "dataset=7"], "error: dataset=7 is unknown; choose one of CUHK"),
        (["train", "env.max_stepz=7"], "env.max_stepz is no key of train; did you mean env.max_steps?"),
        (["score", "predictions="], "error: predictions= is empty: give a value or leave it out"),
        (["score", "predictions=(1) & 写真"], "error: There is no folder (1) & 写真"),
        (["evaluate", "run=7"], "error: 7 is not the folder of a training"),
        (["summarize", "runs=7"], "error: There is no metrics.json below 7"),
        (["train", "env.sam=7"], "error: sam='7' is unknown; choose tiny"),
        (["train", "resume=7"], "error: 7 is not the folder of a training"),
        (["train", "resume=nowhere"], "not the folder of a training"),
        (["train", "resume=nowhere", "episodes=3"], "leave out episodes=3"),
        (["train", "dataset=folder"], "dataset='folder' needs root="),
        (["train", "agent.gamma=high"], "agent.gamma='high': it must be a number"),
        (["evaluate", "run=nowhere"], "not the folder of a training"),
        (["evaluate", "run=setup.cfg"], "not the folder of a training"),
        (["evaluate"], "run is needed"),
        (["reproduce", "table=9", "seeds=[-1]"], "seed=-1"),
        (["score", "predictions=nowhere"], "no folder nowhere"),
        (["baseline", "method=seggpt", "method.checkpoint=nowhere"], "nowhere"),
        (["score", "predictions=nowhere", "on_error=perhaps"], "raise, skip"),
    ],
)
def test_mistakes_end_with_a_message_and_no_traceback(command, arguments, says, tmp_path):
    done = command(*arguments, f"hydra.run.dir={tmp_path / 'run'}", status=1)
    assert says in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
