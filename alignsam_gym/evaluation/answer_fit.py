"""Fits the fused answer on the labelled images, once the agent has been trained."""

from __future__ import annotations

from dataclasses import replace

import torch
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor

from alignsam_gym.agents.agent_prompter import AgentPrompter
from alignsam_gym.envs.alignsam_vector_env import AlignSAMVectorEnv
from alignsam_gym.envs.episode import Episode
from alignsam_gym.evaluation.prompting_evaluation import prompt
from alignsam_gym.evaluation.prompting_strategies import played_by


def fit_answer(env: AlignSAMVectorEnv, policy: BasePolicy) -> None:
    """Fit the weights of the SRM's `AnswerFusion` on the answers to the agent's last prompts. [ours; env.answer]

    The agent prompts the labelled images as it will prompt new ones. Each image's map is drawn by a branch that has not
    seen it (`SRMConfig.folds`); the single branch of ``srm.folds=1`` has, and is then believed too much.

    Args:
        env: The training environment. Its episodes end, its SRM does not learn meanwhile.
        policy: The trained agent's.
    """
    last: list[tuple[Tensor, ...]] = []

    def watch(episode: Episode, step: int, batch: list[int]) -> None:
        if step == episode.rules.max_steps:
            seen = episode.logits, episode.srm_logits, episode.truth, episode.valid
            last.append(tuple(part[: len(batch)].clone() for part in seen))

    episode, learns = env.episode, env.episode.learns
    as_in_testing = {"initial_prompts": replace(env.config, split="test").rules.initial_prompts}
    episode.learns = False
    with played_by(episode, as_in_testing), torch.no_grad():
        prompt(episode, list(range(len(episode.encoded))), AgentPrompter(policy, deterministic=True), watch)
    episode.learns = learns
    episode.srm.fusion.fit(*map(torch.cat, zip(*last, strict=True)))
