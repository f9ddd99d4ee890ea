from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO

from alignsam_gym.agents.bundle import export
from alignsam_gym.agents.sb3_export import export_sb3
from alignsam_gym.agents.trained_run import load_config, load_run
from alignsam_gym.errors import OptionError, WeightsError


@pytest.mark.parametrize(("name", "written"), [("policy", "policy.zip"), ("a.zip", "a.zip"), ("b.v1", "b.v1")])
def test_the_path_is_that_of_the_file(make_run, tmp_path, name, written):
    assert export_sb3(make_run(), tmp_path / name) == tmp_path / written
    PPO.load(tmp_path / written, device="cpu")


def test_a_folder_is_not_written_beside(make_run, tmp_path):
    (tmp_path / "policy.zip").mkdir()
    with pytest.raises(WeightsError, match=r"policy\.zip cannot be written \(Is a directory\)"):
        export_sb3(make_run(), tmp_path / "policy")
    assert sorted(place.name for place in tmp_path.iterdir()) == ["policy.zip", "run"]


def test_a_zip_is_no_bundle(make_run, tmp_path):
    with pytest.raises(OptionError, match=r"\.alignsam is the suffix of a bundle; let SB3's file end in \.zip"):
        export_sb3(make_run(), tmp_path / "policy.alignsam")


def test_the_home_folder_may_be_a_tilde(make_run, tmp_path, monkeypatch):
    export(make_run(), tmp_path / "bundle")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert export_sb3(Path("~/bundle"), Path("~/policy")) == tmp_path / "policy.zip"
    assert (tmp_path / "policy.zip").is_file()


def test_a_rollout_that_the_memory_cannot_hold_is_an_error(make_run, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "alignsam_gym.agents.sb3_export.make_learner", Mock(side_effect=MemoryError("Unable to allocate 9 TiB"))
    )
    with pytest.raises(WeightsError, match="more than the memory: Unable to allocate 9 TiB"):
        export_sb3(make_run(), tmp_path / "policy.zip")


@pytest.mark.parametrize("bundled", [None, "bundle", "one.alignsam"])
def test_stable_baselines_loads_it_and_chooses_the_same(make_run, toy_dataset, tmp_path, bundled):
    run = make_run()
    if bundled:
        export(run, tmp_path / bundled)
    export_sb3(tmp_path / bundled if bundled else run, tmp_path / "out/policy.zip")
    model = PPO.load(tmp_path / "out/policy.zip", device="cpu")
    env, policy = load_run(run, load_config(run), samples=toy_dataset)
    observation, _ = env.reset(seed=0)
    for _ in range(3):
        chosen, _ = model.predict(observation, deterministic=True)
        np.testing.assert_array_equal(chosen, policy.predict(observation, deterministic=True)[0])
        observation, *_ = env.step(chosen)


def test_a_pretrained_policy_is_still_held_near_its_start(make_run, tmp_path):
    run = make_run(network="evidence", width=48, init="pretrained")
    policy = PPO.load(export_sb3(run, tmp_path / "policy"), device="cpu").policy
    seen = {name: torch.as_tensor(part.sample())[None] for name, part in policy.observation_space.items()}
    *_, entropy = policy.evaluate_actions(seen, torch.zeros(1, dtype=torch.int64))
    torch.testing.assert_close(entropy, torch.zeros(1), rtol=0, atol=1e-5)
