"""What the prompting policy learns from: tasks made of photographs, and states in which patches were tried out."""

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from PIL import Image

from alignsam_gym.agents.prompting_policy import load_prompting_policy
from alignsam_gym.experiments.pretrain.__main__ import main
from alignsam_gym.experiments.pretrain.played_tasks import PlayedStates, discounted
from alignsam_gym.experiments.pretrain.prompting_tasks import left_out_tasks, prompting_tasks
from alignsam_gym.experiments.pretrain.training_images import Photograph

CAT, DOG, COW = 8, 12, 10


@pytest.fixture
def photographs(tmp_path):
    """60 photographs: on the left a cat, on the right a dog, in every sixth a cow instead."""
    made = []
    for number in range(60):
        labels = np.zeros((20, 30), np.uint8)
        labels[4:14, :10] = CAT
        labels[4:16, 20:] = COW if number % 6 == 0 else DOG
        labels[:2] = 255
        image, regions = tmp_path / f"{number}.jpg", tmp_path / f"{number}.png"
        Image.fromarray(np.stack([labels] * 3, axis=2)).save(image)
        Image.fromarray(labels).save(regions)
        made.append(Photograph(image, regions, 0.2, "voc"))
    return made


def test_tasks_are_things_and_groups_of_things(photographs):
    tasks = {task.name: task for task in prompting_tasks(photographs)}
    assert {"voc cat", "voc dog", "voc animals", "voc anything", "voc largest", "drawn mirror"} <= tasks.keys()
    assert "voc cow" not in tasks, "ten photographs are too few"
    assert len(tasks["voc dog"]) == 50
    for name, shown in {"voc cat": [CAT], "voc animals": [CAT, DOG, COW], "voc largest": [COW, DOG]}.items():
        sample = tasks[name][0]
        labels = photographs[0].labels()
        np.testing.assert_array_equal(sample.mask, np.isin(labels, shown))
        np.testing.assert_array_equal(sample.void, labels == 255)


def test_photographs_of_what_is_left_out_are_not_used(photographs):
    tasks = {task.name: task for task in prompting_tasks(photographs, ["cow", "drawn mirror"])}
    assert len(tasks["voc cat"]) == 50
    assert "drawn mirror" not in tasks
    assert [task.name for task in left_out_tasks(photographs, ["dog", "drawn mirror"])] == ["voc dog", "drawn mirror"]


def test_returns_are_discounted_sums():
    rewards = torch.rand(5, 3)
    for step, returns in enumerate(discounted(rewards, 0.9)):
        expected = sum(0.9**k * rewards[step + k] for k in range(5 - step))
        torch.testing.assert_close(returns, expected)


def test_states_are_turned_together_with_what_was_tried(tmp_path):
    side, states = 4, PlayedStates(tmp_path)
    actions = torch.stack([torch.randperm(side * side)[:3] for _ in range(6)])
    evidence = torch.zeros(6, 2, side, side).half()
    evidence.flatten(2)[:, 0].scatter_(1, actions, torch.tensor([[1.0, 2.0, 3.0]]).half().expand(6, 3))
    tried = {"evidence": evidence, "actions": actions, "gains": torch.rand(6, 3), "returns": torch.rand(6)}
    states.write(0, tried)
    states.read(0)
    rng, seen = np.random.default_rng(0), set()
    for _ in range(40):
        drawn = states.draw(5, rng)
        marked = drawn["evidence"][:, 0].flatten(1).gather(1, drawn["actions"])
        torch.testing.assert_close(marked, torch.tensor([[1.0, 2.0, 3.0]]).expand(5, 3))
        seen.add(tuple(drawn["actions"].flatten().tolist()))
    assert len(seen) > 8


@pytest.mark.slow
def test_pretraining_a_policy_plays_tasks_and_goes_on(tmp_path, photographs, monkeypatch):
    monkeypatch.setattr("alignsam_gym.experiments.pretrain.pretrain_policy.all_photographs", lambda _: photographs)
    small = [
        "model=policy", "photographs=-", "more_photographs=-", "steps=2", "updates=1", "final_updates=3",
        f"output={tmp_path / 'out'}",
        "left_out=[dog]", "images=2", "shots=[2]", "srm_steps=[2]", "tried=2",
        "tried_steps=[0,3]", "batch_size=4", "score_shots=2", "score_images=2",
    ]  # fmt: skip
    with initialize_config_module("alignsam_gym.conf", version_base="1.3"):
        main.__wrapped__(compose("pretrain", small))
        policy = load_prompting_policy(tmp_path / "out/policy.safetensors")
        assert policy.width == 48
        states = sorted(path.name for path in (tmp_path / "out/states").iterdir())
        assert states == ["00000.safetensors", "00001.safetensors"]
        main.__wrapped__(compose("pretrain", [*small, "steps=3"]))
    assert len(list((tmp_path / "out/states").iterdir())) == 3
