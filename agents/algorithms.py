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

POLICY_OPTIONS = ("policy", "width", "first_trust")
"""What of config group ``agent`` describes the policy; the rest is for the algorithm."""


def policy_options(episode: Episode, options: Mapping[str, Any]) -> tuple[type[PromptPolicy], dict[str, Any]]:
    """The policy that `options` name, and its ``policy_kwargs`` for the states of `episode`."""
    policy = POLICIES[check_choice("agent.policy", options["policy"], tuple(POLICIES))]
    if policy is not PatchPolicy:
        return policy, {"features_extractor_kwargs": {"width": options["width"]}}
    extractor = {"width": options["width"], "guided": episode.rules.state == "guided"}
    return policy, {"features_extractor_kwargs": extractor, "first_trust": list(options.get("first_trust", (0, 0)))}


def make_ppo(env: PromptVecEnv, options: Mapping[str, Any], seed: int, log: Path | None = None) -> PPO:
    """PPO (Eq. 8–10) on ``observation="patches"``, with config group ``agent`` as `options`.

    A rollout is one whole episode of every environment, as in Algorithm 1.
    """
    episode = env.env.episode
    policy, policy_kwargs = policy_options(episode, options)
    return PPO(
        policy,
        env,
        n_steps=episode.rules.max_steps,
        policy_kwargs=policy_kwargs,
        device=episode.model.device,
        seed=seed,
        tensorboard_log=str(log) if log else None,
        **{name: value for name, value in options.items() if name not in POLICY_OPTIONS},
    )


def make_policy(env: PromptVecEnv, options: Mapping[str, Any]) -> PromptPolicy:
    """An untrained policy for `env`, to load weights into."""
    episode = env.env.episode
    policy, policy_kwargs = policy_options(episode, options)
    return policy(env.observation_space, env.action_space, lambda _: 0.0, **policy_kwargs).to(episode.model.device)
