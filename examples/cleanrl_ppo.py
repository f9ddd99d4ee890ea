"""PPO in one file and plain PyTorch, in the manner of CleanRL: all of the algorithm is below.

    python examples/cleanrl_ppo.py
    python examples/cleanrl_ppo.py --dataset shapes-shadow --timesteps 3000

It needs nothing but the package itself, and prints a line for each rollout.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Categorical

import alignsam_gym  # noqa: F401  # registers AlignSAM-v0

Observation = dict[str, Tensor]
"""``patches``, float32 (B, channels, side, side), and ``visited``, float32 (B, N), 1 for patches chosen before."""


class Agent(nn.Module):
    """A logit for each patch, from its neighbourhood, and a value, from the mean of all patches."""

    def __init__(self, channels: int, width: int = 32) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU()
        )
        self.actor = nn.Conv2d(width, 1, 1)
        self.critic = nn.Linear(width, 1)

    def forward(self, observation: Observation) -> tuple[Categorical, Tensor]:
        """Return the distribution over patches, and values (B,)."""
        features = self.body(observation["patches"])
        logits = self.actor(features).flatten(1).masked_fill(observation["visited"] > 0, -1e8)
        return Categorical(logits=logits), self.critic(features.mean((2, 3)))[:, 0]


@dataclass
class Rollout:
    """The same number of steps of every environment; each list has one entry a step."""

    observations: list[Observation] = field(default_factory=list)
    actions: list[Tensor] = field(default_factory=list)
    log_probs: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    rewards: list[Tensor] = field(default_factory=list)
    dones: list[Tensor] = field(default_factory=list)


def tensors(observation: dict[str, np.ndarray]) -> Observation:
    """Return an observation of the environment as the agent wants it."""
    return {name: torch.from_numpy(part).float() for name, part in observation.items()}


def collect(
    envs: gym.vector.VectorEnv, agent: Agent, observation: Observation, steps: int, gamma: float
) -> tuple[Rollout, Observation, float]:
    """Play `steps` steps, which is an episode of every environment.

    Returns:
        The rollout, the observation after it, and the mean IoU at the episodes' end.
    """
    rollout = Rollout()
    for _ in range(steps):
        with torch.no_grad():
            policy, value = agent(observation)
            action = policy.sample()
        after, reward, terminated, truncated, info = envs.step(action.numpy())
        reward = torch.from_numpy(reward).float()
        for row in np.flatnonzero(truncated & ~terminated):  # cut off, not over: what follows has a value too (Eq. 6)
            last = tensors({name: part[None] for name, part in info["final_obs"][row].items()})
            with torch.no_grad():
                _, last_value = agent(last)
            reward[row] += gamma * last_value[0]
        rollout.observations.append(observation)
        rollout.actions.append(action)
        rollout.log_probs.append(policy.log_prob(action))
        rollout.values.append(value)
        rollout.rewards.append(reward)
        rollout.dones.append(torch.from_numpy(terminated | truncated).float())
        observation = tensors(after)
    return rollout, observation, float(info["final_info"]["iou"].mean())


def advantages_of(rollout: Rollout, next_value: Tensor, gamma: float, gae_lambda: float) -> Tensor:
    """Return the generalized advantage estimates (steps · B,), given V (B,) of the states after the rollout."""
    advantages: list[Tensor] = []
    advantage = torch.zeros_like(next_value)
    for step in reversed(range(len(rollout.rewards))):
        goes_on = 1 - rollout.dones[step]
        delta = rollout.rewards[step] + gamma * next_value * goes_on - rollout.values[step]
        advantage = delta + gamma * gae_lambda * goes_on * advantage
        advantages.insert(0, advantage)
        next_value = rollout.values[step]
    return torch.cat(advantages)


def update(
    agent: Agent, optimizer: torch.optim.Optimizer, rollout: Rollout, advantages: Tensor, args: argparse.Namespace
) -> None:
    """Take PPO's epochs over a rollout (Eq. 8–10)."""
    names = rollout.observations[0]
    observations = {name: torch.cat([one[name] for one in rollout.observations]) for name in names}
    actions, log_probs = torch.cat(rollout.actions), torch.cat(rollout.log_probs)
    returns = advantages + torch.cat(rollout.values)
    for _ in range(args.epochs):
        for rows in torch.randperm(len(actions)).chunk(args.minibatches):
            policy, values = agent({name: part[rows] for name, part in observations.items()})
            ratio = (policy.log_prob(actions[rows]) - log_probs[rows]).exp()
            gain = advantages[rows]
            gain = (gain - gain.mean()) / (gain.std() + 1e-8)
            surrogate = torch.min(ratio * gain, ratio.clamp(1 - args.clip, 1 + args.clip) * gain).mean()
            loss = 0.5 * (values - returns[rows]).square().mean() - surrogate
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
            optimizer.step()


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="shapes")
    parser.add_argument("--timesteps", type=int, default=6000)
    parser.add_argument("--num-envs", type=int, default=20)
    parser.add_argument("--steps", type=int, default=15, help="of an episode, and of a rollout")
    parser.add_argument("--shots", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--minibatches", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--gamma", type=float, default=0.9)
    parser.add_argument("--gae-lambda", type=float, default=0.9)
    parser.add_argument("--clip", type=float, default=0.2)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> list[float]:
    """Train, and return the mean IoU at the end of each rollout."""
    args = parse(arguments)
    torch.manual_seed(args.seed)
    envs = gym.make_vec(
        "AlignSAM-v0",
        num_envs=args.num_envs,
        vectorization_mode="vector_entry_point",
        autoreset_mode="SameStep",
        dataset=args.dataset,
        shots=args.shots,
        max_steps=args.steps,
        observation="patches",
        state="guided",
        reward="delta_iou",
        revisit="forbid",
    )
    agent = Agent(envs.single_observation_space["patches"].shape[0])
    optimizer = torch.optim.Adam(agent.parameters(), lr=args.learning_rate, eps=1e-5)
    observation = tensors(envs.reset(seed=args.seed)[0])
    curve = []
    for number in range(max(1, args.timesteps // (args.num_envs * args.steps))):
        rollout, observation, iou = collect(envs, agent, observation, args.steps, args.gamma)
        curve.append(iou)
        print(f"rollout {number:3d}  reward {torch.stack(rollout.rewards).mean():+.3f}  IoU {iou:.3f}", flush=True)
        with torch.no_grad():
            _, next_value = agent(observation)
        update(agent, optimizer, rollout, advantages_of(rollout, next_value, args.gamma, args.gae_lambda), args)
    envs.close()
    return curve


if __name__ == "__main__":
    main()
