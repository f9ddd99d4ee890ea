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
from alignsam_gym.transforms import resize_map

_SIDE = 32  # pixels of a side that are looked at: neighbours tell the same
_MOST_IMAGES = 200  # three numbers need no more


def fit_answer(env: AlignSAMVectorEnv, policy: BasePolicy) -> None:
    """Fit the weights of the SRM's `AnswerFusion` on the answers to all the agent's prompts. [ours; env.answer]

    The agent prompts the labelled images as it will prompt new ones. Each image's map is drawn by a branch that has not
    seen it (`SRMConfig.folds`); the single branch of ``srm.folds=1`` has, and is then believed too much.

    Args:
        env: The training environment. Its episodes end, its SRM does not learn meanwhile.
        policy: The trained agent's.
    """
    seen: list[tuple[Tensor, ...]] = []

    def watch(episode: Episode, step: int, batch: list[int]) -> None:
        stride = max(1, episode.logits.shape[-1] // _SIDE)
        maps = resize_map(episode.srm_logits, episode.logits.shape[-2:])
        whole = (episode.logits, maps, episode.truth, episode.valid)
        sampled = (part[: len(batch), ::stride, ::stride].clone() for part in whole)
        seen.append((episode.steps[: len(batch)].clone(), *sampled))

    episode, learns = env.episode, env.episode.learns
    count = len(episode.encoded)
    indices = range(0, count, -(-count // _MOST_IMAGES))
    as_in_testing = {"initial_prompts": replace(env.config, split="test").rules.initial_prompts}
    episode.learns = False
    with played_by(episode, as_in_testing), torch.no_grad():
        prompt(episode, list(indices), AgentPrompter(policy, deterministic=True), watch)
    episode.learns = learns
    prompts, logits, maps, truth, valid = map(torch.cat, zip(*seen, strict=True))
    episode.srm.fusion.fit(logits, maps, prompts, truth, valid)
