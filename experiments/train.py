"""Trains an agent on a few labelled images and measures it on the test split.

python -m experiments.train dataset=shapes seed=0
python -m experiments.train -m env.max_steps=5,10,15
"""

from __future__ import annotations

import logging
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import CallbackList

from alignsam_gym.agents.agent_prompter import AgentPrompter
from alignsam_gym.agents.agent_weights import how_to_go_on, save_agent
from alignsam_gym.agents.algorithms import make_learner, make_policy
from alignsam_gym.agents.callbacks import Checkpoints, EpisodeStatistics, ProgressBar
from alignsam_gym.agents.embedded_weights import EMBEDDED, embedded_weights
from alignsam_gym.agents.trained_run import CONFIG, load_training, make_env
from alignsam_gym.agents.training_log import check_logger, make_logger
from alignsam_gym.agents.training_state import CHECKPOINT, Curves, check_training_state, load_training_state
from alignsam_gym.agents.vec_env import PromptVecEnv
from alignsam_gym.envs.alignsam_vector_env import AlignSAMVectorEnv
from alignsam_gym.envs.episode import Episode
from alignsam_gym.envs.prompters import Prompter
from alignsam_gym.envs.rules import InitialPrompts
from alignsam_gym.errors import OptionError, WeightsError, check_count
from alignsam_gym.evaluation.answer_choice import better_answer
from alignsam_gym.evaluation.filmstrips import learning_curve
from alignsam_gym.evaluation.labelled_play import play_labelled
from alignsam_gym.evaluation.srm_refit import refit_srm
from alignsam_gym.experiments.evaluate import evaluate_agent
from alignsam_gym.experiments.evaluation_options import check_evaluation_options, chosen_strategies
from alignsam_gym.experiments.hydra_command import hydra_command
from alignsam_gym.experiments.run_config import ANY_MACHINE, FOUND_OUT, config_diff, save_config
from alignsam_gym.experiments.run_lock import run_lock

log = logging.getLogger(__name__)

_MAY_CHANGE = ("evaluate", "text", FOUND_OUT, *ANY_MACHINE)
"""Keys and groups that may differ when a training goes on. `text` and `FOUND_OUT` are written when it has ended."""


@hydra_command("train")
def main(config: DictConfig) -> float:
    """Train in Hydra's output folder, or go on in the folder that ``resume`` names.

    Returns:
        What `train` returns, for Hydra's sweepers. With ``evaluate.split=test``, settings that a sweeper finds by it
        should be measured again on other images; ``development`` spares those of the test split.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    if config.resume:
        others = [override for override in HydraConfig.get().overrides.task if not override.startswith("resume=")]
        if others:
            raise OptionError(f"resume goes on by the run's own configuration; leave out {' '.join(others)}.")
        folder = Path(config.resume)
        if (folder / ".hydra").is_dir() and not (folder / CONFIG).exists():
            raise OptionError(f"The training in {folder} had not begun when it ended; type its own command again.")
        config = load_training(folder)
    with run_lock(folder):
        return train(folder, config)


def train(folder: Path, config: DictConfig) -> float:
    """Train and evaluate one agent. A training that was interrupted in the folder goes on.

    Args:
        folder: Where everything about the run is written.
        config: The configuration, as ``conf/train.yaml`` composes it. What training finds out is added to it:
            ``env.branch`` and ``env.answer`` instead of ``auto``, ``srm.blocks`` instead of null, ``found_out``,
            ``embedded`` and ``text``.

    Returns:
        The final mIoU in [0, 1] of the first prompting strategy, which is the agent unless ``evaluate.strategies``
        says otherwise.

    Raises:
        AlignSAMError: An option, the data or the state of an earlier training does not fit.
        SystemExit: The user interrupted the training (code 130).
    """
    checkpoint = folder / CHECKPOINT
    resumes = checkpoint.exists()
    if resumes:
        check_training_state(checkpoint)
    check_evaluation_options(config)
    check_logger(config.logger)
    check_count("episodes", config.episodes, "at least one for each image")
    env = make_env(config, "train", config.env.num_envs)
    test_env = make_env(config, config.evaluate.split, config.evaluate.batch_size, srm=env.episode.srm)
    model = make_learner(PromptVecEnv(env), config.agent, config.policy, config.seed)
    untrained = make_policy(PromptVecEnv(test_env), config.agent, config.policy, config.seed)
    chosen_strategies(config, test_env.episode, model.policy, untrained)  # a wrong name is told before the training
    config.env.branch = env.episode.srm.kind  # what auto became, for other data that the agent may meet
    config.srm.blocks = env.episode.srm.config.blocks  # what null became, by the number of labelled images
    with open_dict(config):
        config[EMBEDDED] = embedded_weights(config.env)
    curves = resume(folder, config, model, env) if resumes else Curves()
    save_config(folder, config)
    total = total_timesteps(config, len(env.episode.encoded))
    started = time.perf_counter() - sum(entry["seconds"] for entry in curves.history)
    values: Any = OmegaConf.to_container(config, resolve=True)
    with closing(make_logger(config.logger, folder, config.agent.algorithm, values, model.num_timesteps)) as logger:
        model.set_logger(logger)
        learn(checkpoint, config, model, curves, total)
    prompter = AgentPrompter(model.policy, deterministic=True)
    finish_on_labelled(config, env.episode, prompter, test_env.episode.rules.initial_prompts)
    test_env.episode.rules = replace(test_env.episode.rules, answer=config.env.answer)
    minutes = (time.perf_counter() - started) / 60
    if env.episode.encoded.clip:
        with open_dict(config):
            config.text = env.episode.encoded.common_text()  # the agent's default where no text is given
    save_config(folder, config)
    save_agent(folder, model.policy, env.episode.srm)
    learning_curve(curves.history, folder / "learning_curve.png")
    learned_from = len(env.episode.encoded)
    about_training = {
        "timesteps": model.num_timesteps,
        "training_minutes": round(minutes, 2),
        "labelled_images": learned_from,
    }
    miou = evaluate_agent(folder, config, test_env, model.policy, untrained, about_training)
    log.info("everything about this run is in %s", folder)
    return miou


def finish_on_labelled(
    config: DictConfig, episode: Episode, prompter: Prompter, initial_prompts: InitialPrompts
) -> None:
    """Play the labelled images with the trained agent, to choose the answer and the states that the SRM learns from.

    Args:
        config: ``env.answer`` becomes ``sam`` or ``fused`` if it is ``auto``; `FOUND_OUT` says so.
        episode: Of the training split. Its SRM learns anew, unless ``srm.final_updates`` is 0.
        prompter: The trained agent.
        initial_prompts: The rule of new images.
    """
    if config.env.answer != "auto" and not config.srm.final_updates:
        return
    played = play_labelled(episode, prompter, initial_prompts)
    if config.env.answer == "auto":
        config.env.answer = better_answer(episode, played)
        with open_dict(config):
            config[FOUND_OUT] = ["env.answer"]
    if config.srm.final_updates:
        refit_srm(episode, played.masks, config.seed)


def resume(folder: Path, config: DictConfig, model: BaseAlgorithm, env: AlignSAMVectorEnv) -> Curves:
    """Put a new learner and its environment where the training in `folder` stopped.

    Returns:
        The curves of the training so far.

    Raises:
        OptionError: That training had another configuration.
        WeightsError: Its state cannot be read.
    """
    found_out = ("env.answer",) if config.env.answer == "auto" else ()
    changed = config_diff(folder, config, (*_MAY_CHANGE, *found_out))
    if changed and all(key.startswith(f"{EMBEDDED}.") for key in changed):
        raise WeightsError(
            f"{folder} was begun with other weights of the embedded models; go on with the version of alignsam-gym "
            "that began it, or train again."
        )
    if changed:
        raise OptionError(
            f"{folder} holds a training with another {', '.join(changed)}; choose another folder, or go on with "
            f"resume={folder}."
        )
    curves = load_training_state(folder / CHECKPOINT, model, env)
    log.info("going on from step %d", model.num_timesteps)
    return curves


def total_timesteps(config: DictConfig, images: int) -> int:
    """Return E · T · images timesteps, rounded down to whole rounds of all environments, at least one.

    §4.1 sets "the episode E to 50", and Algorithm 1 plays E episodes on an image x. Whether all images together have
    more than E is left open. Here each has E. [ours; episodes]
    """
    total = config.episodes * config.env.max_steps * images
    one_round = config.env.max_steps * config.env.num_envs
    return int(max(one_round, total // one_round * one_round))


def learn(checkpoint: Path, config: DictConfig, model: BaseAlgorithm, curves: Curves, total: int) -> None:
    """Learn until `total` timesteps, with a progress bar, logs and checkpoints.

    Args:
        checkpoint: The file of the training state.
        config: The configuration.
        model: The learner, new or resumed.
        curves: The curves so far. Rounds are added to their history.
        total: Timesteps of the whole training.

    Raises:
        SystemExit: The user interrupted the training (code 130).
    """
    venv = model.get_env()
    assert isinstance(venv, PromptVecEnv)
    bar = ProgressBar(curves.history, total)
    statistics = EpisodeStatistics(curves, config.env.max_steps)
    callbacks = CallbackList([statistics, bar, Checkpoints(checkpoint, venv.env, curves)])
    try:
        with closing(bar):
            if model.num_timesteps < total:
                model.learn(
                    total - model.num_timesteps,
                    callbacks,
                    log_interval=None,  # type: ignore[arg-type]  # the statistics write the log
                    reset_num_timesteps=False,
                )
    except KeyboardInterrupt:
        log.warning("interrupted; %s", how_to_go_on(checkpoint.parent))
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
