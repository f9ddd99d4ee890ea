import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from alignsam_gym.agents.trained_run import load_config, load_run
from alignsam_gym.errors import OptionError
from alignsam_gym.experiments.run_folder import (
    check_counts,
    chosen_strategies,
    config_diff,
    evaluate,
    exit_on_user_error,
    run_lock,
)

HOLD = """
import sys
from pathlib import Path
from alignsam_gym.experiments.run_folder import run_lock
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


@pytest.mark.parametrize(
    ("mistake", "says"),
    [
        (lambda config: config.run, "error: run is needed: give run=…."),
        (lambda config: config.nothing, "error: Key 'nothing' is not in struct"),
        (check_counts, "error: evaluate.limit=0: at least one test image is measured."),
    ],
)
def test_a_users_mistake_ends_a_command_with_its_message(mistake, says):
    config = OmegaConf.create({"run": "???", "seed": 0, "evaluate": {"limit": 0, "batch_size": 1}})
    OmegaConf.set_struct(config, True)
    with pytest.raises(SystemExit) as ended:
        exit_on_user_error(mistake)(config)
    assert ended.value.code == says


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"batch_size": 0}, "evaluate.batch_size=0"),
        ({"limit": "abc"}, "evaluate.limit='abc': it must be a whole number"),
        ({"filmstrips": -1}, "evaluate.filmstrips=-1"),
    ],
)
def test_counts_that_cannot_be_are_told(options, says):
    with pytest.raises(OptionError, match=says):
        check_counts(OmegaConf.create({"seed": 0, "evaluate": {"limit": None, "batch_size": 1} | options}))


@pytest.mark.parametrize("seed", [-1, "abc"])
def test_a_seed_that_cannot_be_is_told(seed):
    with pytest.raises(OptionError, match="seed="):
        check_counts(OmegaConf.create({"seed": seed, "evaluate": {"limit": None, "batch_size": 1}}))


def test_keys_unlike_those_in_a_folder_are_named(make_run):
    run = make_run()
    config = load_config(run)
    assert config_diff(run, config) == []
    config.env.shots, config.device, config.evaluate.batch_size = 9, "cuda", 7
    assert config_diff(run, config) == ["device", "env.shots", "evaluate.batch_size"]
    assert config_diff(run, config, aside=("device", "evaluate")) == ["env.shots"]


def test_a_wrong_way_is_told_by_its_own_key(make_toy_vec):
    config = OmegaConf.create({"seed": 0, "evaluate": {"deterministic": True, "filmstrip_strategies": ["agnet"]}})
    with pytest.raises(OptionError, match=r"evaluate\.filmstrip_strategies='agnet' is unknown"):
        chosen_strategies(config, make_toy_vec(1).unwrapped.episode, None)


def test_what_was_not_drawn_is_not_finished(make_run, toy_dataset, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    options = {
        "limit": None,
        "strategies": ["agent"],
        "deterministic": True,
        "filmstrips": 1,
        "filmstrip_strategies": ["agent"],
    }
    run = make_run()
    config = load_config(run)
    config.evaluate.update(options)
    env, policy = load_run(run, config, samples=toy_dataset)
    with monkeypatch.context() as patched:
        patched.setattr("alignsam_gym.experiments.run_folder.filmstrip", interrupted)
        with pytest.raises(SystemExit):
            evaluate(tmp_path, config, env, policy, {})
    assert not (tmp_path / "metrics.json").exists()
    evaluate(tmp_path, config, env, policy, {})
    assert (tmp_path / "metrics.json").exists()
    assert (tmp_path / "filmstrip.png").exists()


@pytest.mark.parametrize("name", ["strategies", "filmstrip_strategies"])
def test_one_way_of_prompting_must_be_in_a_list(make_toy_vec, name):
    config = OmegaConf.create({"seed": 0, "evaluate": {"limit": None, "deterministic": True, name: "agent"}})
    with pytest.raises(OptionError, match=rf"evaluate.{name}=agent: a list, such as \[agent\]"):
        chosen_strategies(config, make_toy_vec(1).unwrapped.episode, None)
