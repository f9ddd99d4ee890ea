"""Trains an agent on a few labelled images and measures it on the test split.

python -m experiments.train dataset=shapes seed=0
python -m experiments.train -m env.max_steps=5,10,15
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

import hydra
import numpy as np
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import CallbackList

from alignsam_gym.agents.agent_weights import save_agent
from alignsam_gym.agents.algorithms import make_learner
from alignsam_gym.agents.callbacks import Checkpoints, EpisodeStatistics, ProgressBar
from alignsam_gym.agents.imitation import warm_start
from alignsam_gym.agents.trained_run import load_config, make_env
from alignsam_gym.agents.training_state import CHECKPOINT, load_checkpoint
from alignsam_gym.agents.vec_env import PromptVecEnv
from alignsam_gym.errors import OptionError, check_count
from alignsam_gym.evaluation.filmstrips import learning_curve
from alignsam_gym.experiments.command_line import exit_on_user_error
from alignsam_gym.experiments.evaluate import evaluate_agent
from alignsam_gym.experiments.evaluation_options import check_evaluation_options, chosen_strategies
from alignsam_gym.experiments.run_config import config_diff, save_config
from alignsam_gym.experiments.run_lock import run_lock

log = logging.getLogger(__name__)

_MAY_CHANGE = ("device", "cache_dir", "evaluate", "text")
"""Keys and groups that a training which goes on may have anew; `text` is noted at its end."""


@hydra.main(version_base="1.3", config_path="../conf", config_name="train")
@exit_on_user_error
def main(config: DictConfig) -> float:
    """Train and measure an agent; returns the mIoU of the first prompting strategy, for sweepers.

    That is the agent unless `evaluate.strategies` says otherwise. It is measured on the test split: settings that a
    sweeper finds by it are to be measured on other images.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    if config.resume:
        if others := [each for each in HydraConfig.get().overrides.task if not each.startswith("resume=")]:
            raise OptionError(f"resume goes on by the run's own configuration; leave out {' '.join(others)}.")
        folder = Path(config.resume)
        config = load_config(folder)
    with run_lock(folder):
        return train(folder, config)


def train(folder: Path, config: DictConfig) -> float:
    """Train and evaluate one agent in `folder`, going on from the checkpoint that it may hold."""
    check_evaluation_options(config)
    check_count("episodes", config.episodes, "at least one for each image")
    env = make_env(config, "train", config.env.num_envs)
    test = make_env(config, "test", config.evaluate.batch_size, srm=env.episode.srm)
    venv = PromptVecEnv(env)
    model = make_learner(venv, config.agent, config.policy, config.seed, log=folder / "tensorboard")
    chosen_strategies(config, test.episode, model.policy)  # a wrong name is told now, not after the training
    history: list[dict[str, float]] = []
    checkpoint = folder / CHECKPOINT
    config.env.branch = env.episode.srm.kind  # what auto became, for other data that the agent may meet
    if checkpoint.exists():
        if others := config_diff(folder, config, _MAY_CHANGE):
            raise OptionError(
                f"{folder} holds a training with another {', '.join(others)}; choose another folder, or go on with "
                f"resume={folder}."
            )
        history += load_checkpoint(checkpoint, model, env)
        log.info("going on from step %d", model.num_timesteps)
    save_config(folder, config)
    total = config.episodes * config.env.max_steps * len(env.episode.encoded) // config.env.augment
    rollout = config.env.max_steps * config.env.num_envs
    total = max(rollout, total // rollout * rollout)
    bar = ProgressBar(history, total)
    statistics = EpisodeStatistics(history, config.env.max_steps)
    callbacks = CallbackList([statistics, bar, Checkpoints(checkpoint, env, history)])
    started = time.perf_counter() - sum(round["seconds"] for round in history)
    try:
        if config.warm_start.rounds and not checkpoint.exists():
            run_warm_start(model, config)
        if model.num_timesteps < total:
            model.learn(
                total - model.num_timesteps,
                callbacks,
                log_interval=None,  # type: ignore[arg-type]  # the statistics write the log
                tb_log_name=config.agent.algorithm,
                reset_num_timesteps=False,
            )
    except KeyboardInterrupt:
        bar.close()
        log.warning("interrupted; go on with: python -m experiments.train resume=%s", folder)
        raise SystemExit(130) from None
    finally:
        bar.close()
    minutes = (time.perf_counter() - started) / 60
    if env.episode.encoded.clip:
        with open_dict(config):
            config.text = env.episode.encoded.only_text()  # which the agent takes for granted where none is given
        save_config(folder, config)
    save_agent(folder, model.policy, env.episode.srm)
    learning_curve(history, folder / "learning_curve.png")
    extra = {"timesteps": total, "training_minutes": round(minutes, 2)}
    miou = evaluate_agent(folder, config, test, model.policy, extra)
    log.info("everything about this run is in %s", folder)
    return miou


def run_warm_start(model: BaseAlgorithm, config: DictConfig) -> None:
    """The warm start, after which learning goes on in the middle of a run."""
    venv = model.get_env()
    assert isinstance(venv, PromptVecEnv)
    venv.reset()
    warm_start(model.policy, venv.env, config.warm_start, config.seed)
    model._last_obs = venv.env.observe()
    model._last_episode_starts = np.ones(venv.num_envs, bool)


if __name__ == "__main__":
    main()
