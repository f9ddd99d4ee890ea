"""A warm start for the policy: it first imitates an agent that tries prompts out before it chooses one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from rich.progress import track
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor
from torch.distributions import Categorical
from torch.nn import functional as F

from alignsam_gym.agents.policies import PromptPolicyMixin
from alignsam_gym.envs.alignsam_vector_env import AlignSAMVectorEnv
from alignsam_gym.errors import OptionError


@dataclass(frozen=True)
class _Lookahead:
    """Actions that were tried out in B states.

    Attributes:
        patches: Float (B, channels, side, side), the observations.
        visited: (B, N), or None where the observations have none.
        actions: Int64 (B, K), what was tried out.
        gains: Float (B, K), the change of IoU that each action would make.
    """

    patches: Tensor
    visited: Tensor | None
    actions: Tensor
    gains: Tensor


def warm_start(policy: BasePolicy, env: AlignSAMVectorEnv, options: Mapping[str, Any], seed: int) -> None:
    """Distil one-step lookahead into `policy`, while the SRM of `env` learns as always. [ours; warm_start]

    A round is one episode of every environment. At each step some patches are tried out with the labels that they
    would get (`Episode.lookahead_iou`). The policy learns to choose each of them, and stopping, which gains nothing,
    with a probability proportional to exp(gain of IoU / temperature). Half of the rows then take the best of the
    patches, the others take a draw from the policy. In the first ``srm_rounds`` the actions are random and only the
    SRM learns.

    Args:
        policy: An actor–critic policy without memory.
        env: The training environment, after a reset.
        options: Config group ``warm_start``.
        seed: Seed of the candidates, of the choice of rows, and of the order of learning.

    Raises:
        OptionError: The policy gives no distribution over actions for a state alone, or options are missing.
    """
    if not isinstance(policy, PromptPolicyMixin) or policy.recurrent:
        raise OptionError("warm_start needs agent=ppo, a2c or maskable_ppo; for others leave warm_start=none.")
    if env.config.observation != "patches":
        raise OptionError(
            "warm_start keeps what it tries out, and whole states would fill the memory; take policy=patch."
        )
    if "learning_rate" not in options:
        raise OptionError("warm_start.rounds is set, but warm_start=none says nothing else; take warm_start=lookahead.")
    options = dict(options)
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.Adam(policy.parameters(), lr=options["learning_rate"])
    memory: list[_Lookahead] = []
    for number in track(range(options["srm_rounds"] + options["rounds"]), "warm start"):
        for _ in range(env.episode.rules.max_steps):
            candidates = _draw_candidates(env, options["candidates"], rng)
            if number < options["srm_rounds"]:
                env.step(candidates[:, 0].numpy())
            else:
                memory.append(_look_ahead_and_step(policy, env, candidates, rng))
        if memory:
            _imitate(policy, optimizer, memory, options, rng)


def _draw_candidates(env: AlignSAMVectorEnv, count: int, rng: np.random.Generator) -> Tensor:
    """`count` patches that each row may choose, int64 (B, count); forbidden ones only where too few are left."""
    allowed = env.episode.allowed()[:, : env.episode.rules.grid.count]
    order = np.argsort(-rng.random(allowed.shape) * allowed, axis=1)
    return torch.from_numpy(order[:, :count])


def _look_ahead_and_step(
    policy: PromptPolicyMixin, env: AlignSAMVectorEnv, candidates: Tensor, rng: np.random.Generator
) -> _Lookahead:
    """Try the candidates out, then take a step."""
    episode = env.episode
    actions = candidates.to(episode.model.device)
    gains = episode.lookahead_iou(actions) - episode.iou[:, None]
    best = actions.gather(1, gains.argmax(1, keepdim=True))[:, 0].cpu().numpy()
    if episode.rules.stop:
        actions = F.pad(actions, (0, 1), value=episode.rules.grid.count)
        gains = F.pad(gains, (0, 1))
    observations = env.observe()
    drawn, _ = policy.predict(observations)
    seen: Any = policy.obs_to_tensor(observations)[0]
    takes_best = rng.random(len(best)) < 0.5
    env.step(np.where(takes_best, best, drawn))
    if isinstance(seen, dict):
        return _Lookahead(seen["patches"], seen["visited"], actions, gains)
    return _Lookahead(seen, None, actions, gains)


def _imitate(
    policy: PromptPolicyMixin,
    optimizer: torch.optim.Optimizer,
    memory: list[_Lookahead],
    options: Mapping[str, Any],
    rng: np.random.Generator,
) -> None:
    """Learn from everything that was tried out so far, in ``epochs`` passes."""
    policy.set_training_mode(True)
    tried = _concatenate(memory)
    target = (tried.gains / options["temperature"]).softmax(1)
    size = options["batch_size"]
    for _ in range(options["epochs"]):
        order = torch.from_numpy(rng.permutation(len(target)))
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            patches = _drop_channels(tried.patches[rows], options["dropout"], rng)
            observation = patches if tried.visited is None else {"patches": patches, "visited": tried.visited[rows]}
            distribution = policy.get_distribution(observation).distribution
            assert isinstance(distribution, Categorical)
            loss = F.cross_entropy(distribution.logits.gather(1, tried.actions[rows]), target[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def _concatenate(memory: list[_Lookahead]) -> _Lookahead:
    visited = [one.visited for one in memory if one.visited is not None]
    return _Lookahead(
        torch.cat([one.patches for one in memory]),
        torch.cat(visited) if visited else None,
        torch.cat([one.actions for one in memory]),
        torch.cat([one.gains for one in memory]),
    )


def _drop_channels(patches: Tensor, rate: float, rng: np.random.Generator) -> Tensor:
    """Set some channels of each row to zero, so that the policy does not rely on a few of SAM's many."""
    kept = torch.from_numpy(rng.random(patches.shape[:2]) >= rate).to(patches)
    return patches * (kept / (1 - rate))[:, :, None, None]
