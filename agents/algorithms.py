"""From configuration to a learner: any algorithm, config group ``agent``, with any network, config group ``policy``."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy

from alignsam_gym.agents.compact_rollouts import CompactRolloutBuffer
from alignsam_gym.agents.networks import NETWORKS, observation_of
from alignsam_gym.agents.policies import PromptPolicy
from alignsam_gym.agents.policy_config import PolicyConfig
from alignsam_gym.agents.prompting_policy import begin_pretrained
from alignsam_gym.agents.vec_env import PromptVecEnv
from alignsam_gym.envs.cell_states import form_kept_states
from alignsam_gym.envs.episode import Episode
from alignsam_gym.errors import AlignSAMError, OptionError, check_choice

_OURS = {"policy", "env", "device", "seed", "tensorboard_log", "_init_setup_model"}
"""Arguments of learners that are no options of the config group ``agent``."""


class Algorithm(NamedTuple):
    """Where its learner and its policy are: ``module:name``, imported only where chosen."""

    learner: str
    policy: str


ALGORITHMS: dict[str, Algorithm] = {
    "ppo": Algorithm("stable_baselines3:PPO", "alignsam_gym.agents.policies:PromptPolicy"),
    "a2c": Algorithm("stable_baselines3:A2C", "alignsam_gym.agents.policies:PromptPolicy"),
    "dqn": Algorithm("alignsam_gym.agents.q_policies:PromptDQN", "alignsam_gym.agents.q_policies:QPolicy"),
    "qrdqn": Algorithm(
        "alignsam_gym.agents.contrib_policies:PromptQRDQN", "alignsam_gym.agents.contrib_policies:QuantilePolicy"
    ),
    "maskable_ppo": Algorithm("sb3_contrib:MaskablePPO", "alignsam_gym.agents.contrib_policies:MaskablePromptPolicy"),
    "recurrent_ppo": Algorithm(
        "sb3_contrib:RecurrentPPO", "alignsam_gym.agents.contrib_policies:RecurrentPromptPolicy"
    ),
}


def make_learner(env: PromptVecEnv, agent: Mapping[str, Any], policy: Mapping[str, Any], seed: int) -> BaseAlgorithm:
    """An SB3 learner on what its network observes; `agent` and `policy` are the config groups. Raises OptionError.

    Options of `agent` are the algorithm's own in SB3, ``policy_kwargs`` those of its policies.
    """
    options = dict(agent)
    name = options.pop("algorithm")
    learner, policy_class = _classes(name)
    policy_kwargs = _policy_kwargs(env.env.episode, policy_class, policy) | dict(options.pop("policy_kwargs", {}))
    known = inspect.signature(learner).parameters
    if unknown := options.keys() & _OURS | options.keys() - known.keys():
        raise OptionError(f"agent={name} has no option {', '.join(sorted(unknown))}.")
    for option, value in options.items():
        if isinstance(value, str) and isinstance(known[option].default, int | float):
            raise OptionError(f"agent.{option}={value!r}: it must be a number.")
    if observation_of(policy) == "cells":
        if name not in ("ppo", "a2c"):  # the others have buffers of their own
            raise OptionError(
                f"policy=full_cnn sees whole states, and agent={name} would keep each; take agent=ppo or a2c, or "
                "policy=cnn."
            )
        options["rollout_buffer_class"] = CompactRolloutBuffer
    try:
        made: BaseAlgorithm = learner(
            policy_class,
            env,
            policy_kwargs=policy_kwargs,
            device=env.env.episode.model.device,
            seed=seed,
            **options,
        )
    except AlignSAMError:
        raise
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:  # as Stable-Baselines3 refuses values
        raise OptionError(f"agent={name} cannot be made of these options: {error}") from error
    if policy.get("init") == "pretrained":
        begin_pretrained(made.policy)
    if isinstance(made, OnPolicyAlgorithm) and isinstance(made.rollout_buffer, CompactRolloutBuffer):
        made.rollout_buffer.form = partial(form_kept_states, env.env.episode)
    return made


def make_policy(env: PromptVecEnv, agent: Mapping[str, Any], policy: Mapping[str, Any], seed: int = 0) -> BasePolicy:
    """An untrained policy for `env`: the one that the learner of the same configuration and seed begins as.

    It has no optimizer: PyTorch imports its compiler for one, which takes seconds.
    """
    episode = env.env.episode
    _, policy_class = _classes(agent["algorithm"])
    options = _policy_kwargs(episode, policy_class, policy) | dict(agent.get("policy_kwargs", {}))
    options["optimizer_class"] = _no_optimizer
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        made = policy_class(env.observation_space, env.action_space, lambda _: 0.0, **options)
    if policy.get("init") == "pretrained":
        begin_pretrained(made)
    return made.to(episode.model.device)


def _no_optimizer(*args: Any, **kwargs: Any) -> None:
    """Make nothing, where SB3 makes a policy's optimizer."""


def _classes(name: str) -> tuple[type[BaseAlgorithm], type[BasePolicy]]:
    """The learner and the policy of an algorithm."""
    algorithm = ALGORITHMS[check_choice("agent.algorithm", name, tuple(ALGORITHMS))]
    try:
        return pkgutil.resolve_name(algorithm.learner), pkgutil.resolve_name(algorithm.policy)
    except ModuleNotFoundError as error:
        if error.name != "sb3_contrib":
            raise
        raise OptionError(f"agent={name} needs sb3-contrib: pip install 'alignsam-gym[contrib]'.") from error


def _policy_kwargs(episode: Episode, policy_class: type[BasePolicy], options: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords of a policy for the network that `options` describe and the states of `episode`."""
    config = PolicyConfig.of(options)
    extractor, head, observation = NETWORKS[config.network]
    seen: dict[str, Any] = {"width": config.width}
    if observation == "cells":
        seen["num_patches"] = episode.rules.grid.count
    if config.network == "patch":
        seen["guided"] = episode.rules.state == "guided"
    keywords = {"features_extractor_class": extractor, "features_extractor_kwargs": seen, "head": head}
    if config.init == "pretrained" and issubclass(policy_class, PromptPolicy):
        keywords["reference"] = "pretrained"
    return keywords
