"""From configuration to a learner."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stable_baselines3 import PPO

from agents.policies import POLICIES, PatchPolicy, PromptPolicy
from agents.vec_env import PromptVecEnv
from alignsam_gym.envs.episode import Episode
from alignsam_gym.errors import check_choice


def policy_options(policy: type[PromptPolicy], episode: Episode, width: int) -> dict[str, Any]:
    """``policy_kwargs`` of a policy for the states of `episode`."""
    guided = {"guided": episode.rules.state == "guided"} if policy is PatchPolicy else {}
    return {"features_extractor_kwargs": {"width": width, **guided}}


def make_ppo(env: PromptVecEnv, options: Mapping[str, Any], seed: int, log: Path | None = None) -> PPO:
    """PPO (Eq. 8–10) on ``observation="patches"``, with config group ``agent`` as `options`.

    A rollout is one whole episode of every environment, as in Algorithm 1.
    """
    options = dict(options)
    policy = POLICIES[check_choice("agent.policy", options.pop("policy"), tuple(POLICIES))]
    episode = env.env.episode
    return PPO(
        policy,
        env,
        n_steps=episode.rules.max_steps,
        policy_kwargs=policy_options(policy, episode, options.pop("width")),
        device=episode.model.device,
        seed=seed,
        tensorboard_log=str(log) if log else None,
        **options,
    )


def make_policy(env: PromptVecEnv, options: Mapping[str, Any]) -> PromptPolicy:
    """An untrained policy for `env`, to load weights into."""
    policy = POLICIES[check_choice("agent.policy", options["policy"], tuple(POLICIES))]
    episode = env.env.episode
    made = policy(
        env.observation_space, env.action_space, lambda _: 0.0, **policy_options(policy, episode, options["width"])
    )
    return made.to(episode.model.device)
