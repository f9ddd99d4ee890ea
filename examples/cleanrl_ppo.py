"""PPO in one file and plain PyTorch, in the manner of CleanRL: all of the algorithm is below.

    python examples/cleanrl_ppo.py
    python examples/cleanrl_ppo.py --dataset shapes-shadow --timesteps 3000

It needs nothing beside the package itself, and prints a line for each rollout.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Categorical

import alignsam_gym  # noqa: F401  # registers AlignSAM-v0


class Agent(nn.Module):
    """A logit for each patch, from its neighbourhood, and a value, from the mean of all patches."""

    def __init__(self, channels: int, width: int = 32) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU()
        )
        self.actor, self.critic = nn.Conv2d(width, 1, 1), nn.Linear(width, 1)

    def forward(self, observation: dict[str, Tensor]) -> tuple[Categorical, Tensor]:
        features = self.body(observation["patches"])
        logits = self.actor(features).flatten(1).masked_fill(observation["visited"] > 0, -1e8)
        return Categorical(logits=logits), self.critic(features.mean((2, 3)))[:, 0]


def tensors(observation: dict[str, np.ndarray]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(part).float() for name, part in observation.items()}


def main(arguments: Sequence[str] | None = None) -> list[float]:
    """Train; returns the mean IoU at the end of each rollout."""
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
    args = parser.parse_args(arguments)

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
    for rollout in range(max(1, args.timesteps // (args.num_envs * args.steps))):
        seen, actions, log_probs, values, rewards, dones = [], [], [], [], [], []
        for _ in range(args.steps):
            with torch.no_grad():
                policy, value = agent(observation)
                action = policy.sample()
            seen.append(observation)
            actions.append(action)
            log_probs.append(policy.log_prob(action))
            values.append(value)
            after, reward, terminated, truncated, info = envs.step(action.numpy())
            reward = torch.from_numpy(reward).float()
            for row in np.flatnonzero(truncated & ~terminated):  # cut off, not over: what follows has a value too
                with torch.no_grad():
                    last = agent(tensors({name: part[None] for name, part in info["final_obs"][row].items()}))[1]
                reward[row] += args.gamma * last[0]
            rewards.append(reward)
            dones.append(torch.from_numpy(terminated | truncated).float())
            observation = tensors(after)
        curve.append(float(info["final_info"]["iou"].mean()))
        print(f"rollout {rollout:3d}  reward {torch.stack(rewards).mean():+.3f}  IoU {curve[-1]:.3f}", flush=True)

        with torch.no_grad():
            following = agent(observation)[1]
        advantages, advantage = [], torch.zeros(args.num_envs)
        for step in reversed(range(args.steps)):
            delta = rewards[step] + args.gamma * following * (1 - dones[step]) - values[step]
            advantage = delta + args.gamma * args.gae_lambda * (1 - dones[step]) * advantage
            advantages.insert(0, advantage)
            following = values[step]
        batch = {name: torch.cat([one[name] for one in seen]) for name in seen[0]}
        action, log_prob, value, gain = map(torch.cat, (actions, log_probs, values, advantages))
        for _ in range(args.epochs):
            for rows in torch.randperm(len(action)).chunk(args.minibatches):
                policy, predicted = agent({name: part[rows] for name, part in batch.items()})
                ratio = (policy.log_prob(action[rows]) - log_prob[rows]).exp()
                wanted = (gain[rows] - gain[rows].mean()) / (gain[rows].std() + 1e-8)
                surrogate = torch.min(ratio * wanted, ratio.clamp(1 - args.clip, 1 + args.clip) * wanted).mean()
                loss = 0.5 * (predicted - (gain + value)[rows]).square().mean() - surrogate
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
                optimizer.step()
    envs.close()
    return curve


if __name__ == "__main__":
    main()
