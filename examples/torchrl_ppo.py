"""PPO with TorchRL's own collector, advantage and loss.

    pip install -e ".[examples]"
    python examples/torchrl_ppo.py
    python examples/torchrl_ppo.py --dataset shapes-shadow --timesteps 3000

TorchRL resets environments itself, so the vector environment is made with ``autoreset_mode="Disabled"``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import gymnasium as gym
import torch
from tensordict.nn import TensorDictModule, TensorDictSequential
from torch import Tensor, nn
from torch.distributions import Categorical
from torchrl.collectors import Collector
from torchrl.data import LazyTensorStorage, ReplayBuffer
from torchrl.data.replay_buffers.samplers import SamplerWithoutReplacement
from torchrl.envs import GymWrapper
from torchrl.modules import ProbabilisticActor, ValueOperator
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value import GAE

import alignsam_gym  # noqa: F401  # registers AlignSAM-v0


class Logits(nn.Module):
    """A logit for each patch, from its neighbourhood; visited patches get none."""

    def __init__(self, channels: int, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU(),
            nn.Conv2d(width, 1, 1),
        )  # fmt: skip

    def forward(self, patches: Tensor, visited: Tensor) -> Tensor:
        """Return logits (…, N) of patches (…, channels, side, side) and visited (…, N)."""
        logits = self.layers(patches.float().flatten(0, -4)).unflatten(0, patches.shape[:-3]).flatten(-3)
        return logits.masked_fill(visited > 0, -1e8)


class Value(nn.Module):
    """A state's value, from the mean of its patches."""

    def __init__(self, channels: int, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(channels, width), nn.ReLU(), nn.Linear(width, 1))

    def forward(self, patches: Tensor) -> Tensor:
        """Return values (…, 1) of patches (…, channels, side, side)."""
        return self.layers(patches.float().mean((-2, -1)))


def make_environments(args: argparse.Namespace) -> gym.vector.VectorEnv:
    """Make the vector environment, which TorchRL resets."""
    return gym.make_vec(
        "AlignSAM-v0",
        num_envs=args.num_envs,
        vectorization_mode="vector_entry_point",
        autoreset_mode="Disabled",
        dataset=args.dataset,
        shots=args.shots,
        max_steps=args.steps,
        observation="patches",
        state="guided",
        reward="delta_iou",
        revisit="forbid",
    )


def make_agent(env: GymWrapper, channels: int) -> tuple[ProbabilisticActor, ValueOperator]:
    """Make the actor and the critic for observations of so many channels."""
    logits = TensorDictModule(Logits(channels), in_keys=["patches", "visited"], out_keys=["logits"])
    actor = ProbabilisticActor(
        TensorDictSequential(logits), in_keys=["logits"], spec=env.action_spec, distribution_class=Categorical,
        return_log_prob=True,
    )  # fmt: skip
    return actor, ValueOperator(Value(channels), in_keys=["patches"])


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="shapes")
    parser.add_argument("--timesteps", type=int, default=6000)
    parser.add_argument("--num-envs", type=int, default=20)
    parser.add_argument("--steps", type=int, default=15, help="of an episode, and of a rollout")
    parser.add_argument("--shots", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> list[float]:
    """Train, and return the mean reward of a step in each rollout."""
    args = parse(arguments)
    torch.manual_seed(args.seed)
    envs = make_environments(args)
    env = GymWrapper(envs, categorical_action_encoding=True)
    env.set_seed(args.seed)
    actor, critic = make_agent(env, envs.single_observation_space["patches"].shape[0])
    advantage = GAE(gamma=0.9, lmbda=0.9, value_network=critic, average_gae=True)
    ppo_loss = ClipPPOLoss(actor, critic, clip_epsilon=0.2, entropy_bonus=False)
    optimizer = torch.optim.Adam(ppo_loss.parameters(), lr=args.learning_rate)
    frames = args.num_envs * args.steps
    total = max(1, args.timesteps // frames) * frames
    collector = Collector(
        env, actor, frames_per_batch=frames, total_frames=total, auto_register_policy_transforms=False
    )
    buffer = ReplayBuffer(
        storage=LazyTensorStorage(frames), sampler=SamplerWithoutReplacement(), batch_size=max(1, frames // 4)
    )
    curve = []
    for number, data in enumerate(collector):
        curve.append(float(data["next", "reward"].mean()))
        print(f"rollout {number:3d}  reward {curve[-1]:+.3f}", flush=True)
        for _ in range(args.epochs):
            with torch.no_grad():
                advantage(data)
            buffer.extend(data.reshape(-1))
            for _ in range(4):
                losses = ppo_loss(buffer.sample())
                optimizer.zero_grad()
                (losses["loss_objective"] + losses["loss_critic"]).backward()
                nn.utils.clip_grad_norm_(ppo_loss.parameters(), 0.5)
                optimizer.step()
    collector.shutdown()
    return curve


if __name__ == "__main__":
    main()
