"""Real trainings with other choices than the defaults, in one process."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from stable_baselines3 import PPO

from alignsam_gym import AlignSAM
from alignsam_gym.agents.trained_run import dataset_options, load_config
from alignsam_gym.agents.training_state import CHECKPOINT
from alignsam_gym.data import load_dataset
from alignsam_gym.data.mask_rule import MaskRule
from alignsam_gym.errors import WeightsError
from alignsam_gym.evaluation.prompting_strategies import DEFAULT_STRATEGIES
from alignsam_gym.experiments.train import total_timesteps, train
from alignsam_gym.srm import SRM
from tests.experiments.small import SMALL, SMALL_DQN

CONF = Path(__file__).parents[2] / "conf"


def configured(choices):
    small = [*(SMALL_DQN if "dqn" in choices else SMALL), "evaluate.batch_size=1", "evaluate.filmstrips=0"]
    if "experiment=" not in choices:  # two are enough for all strategies of prompting, which take longest
        small += ["evaluate.strategies=[agent]"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", [*choices.split(), *small, "evaluate.save_predictions=true"])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    @cache
    def folder(choices):
        run = tmp_path_factory.mktemp("run")
        train(run, configured(choices))
        return run

    return folder


def metrics_of(run):
    return json.loads((run / "metrics.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize(
    "choices",
    [
        "experiment=paper",
        "experiment=best_text dataset=shapes-named",
        "agent=dqn policy=cnn",
        "agent=qrdqn",
        "agent=maskable_ppo",
        "agent=recurrent_ppo",
        "env.stop=true",
        "env.answer=fused",
    ],
)
def test_any_choice_trains_and_answers_again_as_it_was_measured(trained, choices):
    run = trained(choices)
    config, metrics = load_config(run), metrics_of(run)
    assert metrics["timesteps"] == 2 * 4 * 3
    guided_by_text = config.env.branch == "explicit"
    assert config.get("found_out", []) == (["env.answer"] if configured(choices).env.answer == "auto" else [])
    assert config.srm.blocks == 2  # as few images are labelled
    measured = {"agent"}
    if "experiment=" in choices:
        measured = {*DEFAULT_STRATEGIES} - (set() if guided_by_text else {"clip"})
    assert metrics["prompting"].keys() == measured
    assert {summary["images"] for summary in metrics["prompting"].values()} == {3}
    name, options = dataset_options(config)
    samples, agent = load_dataset(name, "test", **options), AlignSAM.from_pretrained(run)
    for index, id in enumerate(metrics["iou_by_image"]["agent"]):
        answer = agent.predict(samples[index].image, samples[index].text if guided_by_text else None)
        differs = answer.mask != MaskRule().read(run / f"predictions/agent/{id}.png")
        # A pixel on the very outline may fall either way.
        assert (np.abs(answer.probability[differs] - 0.5) < 1e-4).all()


def test_by_the_papers_letter_each_episode_and_each_action_is_followed_by_an_update(tmp_path, monkeypatch):
    """K = 20 steps on all T transitions after an episode (Algorithm 1); one on its state after an action (§3.3)."""
    events, states = [], []
    ppo_train, srm_learn, adam_step = PPO.train, SRM.learn, torch.optim.Adam.step

    def update_policy(learner):
        events.append("episode")
        ppo_train(learner)

    def update_srm(srm, seen, *rest):
        events.append("action")
        states.append(len(seen))
        return srm_learn(srm, seen, *rest)

    def step(optimizer, *rest):
        events.append("gradient step")
        return adam_step(optimizer, *rest)

    monkeypatch.setattr(PPO, "train", update_policy)
    monkeypatch.setattr(SRM, "learn", update_srm)
    monkeypatch.setattr(torch.optim.Adam, "step", step)
    small = ["env.shots=2", "env.max_steps=3", "episodes=2", "srm.width=8", "policy.width=8", "device=cpu"]
    few = ["evaluate.limit=1", "evaluate.batch_size=1", "evaluate.filmstrips=0", "evaluate.strategies=[agent]"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        train(tmp_path, compose("train", ["experiment=paper_letter", *small, *few]))
    action = ["action", "gradient step"]
    assert events == 2 * 2 * [*3 * action, "episode", *20 * ["gradient step"]]
    assert set(states) == {1}


def test_a_training_of_an_older_version_is_told_before_anything_is_made(tmp_path):
    torch.save({"policy": {}}, tmp_path / CHECKPOINT)
    with pytest.raises(WeightsError, match=r"the training state of alignsam-gym 0\.1\.0"):
        train(tmp_path, OmegaConf.create({"env": {"an_old_option": 1}}))
    assert [file.name for file in tmp_path.iterdir()] == [CHECKPOINT]


@pytest.mark.parametrize(
    ("images", "expected"),
    [(50, 15 * 50 * 2), (3, 15 * 4), (7, 15 * 12)],
)
def test_timesteps_are_those_of_whole_rounds(images, expected):
    """E = 2 episodes of T = 15 steps on each image, in rounds of 4 environments."""
    config = OmegaConf.create({"episodes": 2, "env": {"max_steps": 15, "num_envs": 4}})
    assert total_timesteps(config, images) == expected


@pytest.mark.slow  # the process that runs commands takes seconds to start
def test_a_training_that_had_not_begun_cannot_go_on(command, tmp_path):
    (tmp_path / "run/.hydra").mkdir(parents=True)
    ended = command("train", f"resume={tmp_path / 'run'}", f"hydra.run.dir={tmp_path / 'other'}", status=1)
    assert "run had not begun when it ended; type its own command again." in ended.stderr
