"""Gymnasium's own wrappers around the single and the vector environment: statistics of episodes, and videos.

    pip install -e ".[examples]"
    python examples/gymnasium_wrappers.py --output videos

A random agent plays. The single environment leaves one MP4 for each episode, the vector environment one of all rows.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import RecordEpisodeStatistics, RecordVideo
from gymnasium.wrappers.vector import RecordEpisodeStatistics as RecordVectorStatistics
from gymnasium.wrappers.vector import RecordVideo as RecordVectorVideo

import alignsam_gym  # noqa: F401  # registers AlignSAM-v0


def play_single(output: str, episodes: int, **options: object) -> list[float]:
    """Play episodes one after another and return their returns. `output` is the folder of the videos."""
    env = gym.make("AlignSAM-v0", render_mode="rgb_array", **options)
    env = RecordVideo(RecordEpisodeStatistics(env), output, name_prefix="single", episode_trigger=lambda _: True)
    env.action_space.seed(0)
    returns = []
    for episode in range(episodes):
        env.reset(seed=0 if episode == 0 else None)
        ended = False
        while not ended:
            _, _, terminated, truncated, info = env.step(env.action_space.sample())
            ended = terminated or truncated
        returns.append(float(info["episode"]["r"]))
    env.close()
    return returns


def play_vector(output: str, num_envs: int, **options: object) -> list[float]:
    """Play `num_envs` episodes side by side and return their returns. `output` is the folder of the videos."""
    envs = gym.make_vec(
        "AlignSAM-v0",
        num_envs=num_envs,
        vectorization_mode="vector_entry_point",
        render_mode="rgb_array",
        **options,
    )
    envs = RecordVectorVideo(
        RecordVectorStatistics(envs), output, name_prefix="vector", episode_trigger=lambda episode: episode == 0
    )
    envs.action_space.seed(0)
    envs.reset(seed=0)
    ended = np.zeros(num_envs, bool)
    while not ended.any():  # the agent cannot stop, so all end at once
        _, _, terminated, truncated, info = envs.step(envs.action_space.sample())
        ended = terminated | truncated
    envs.close()
    return info["episode"]["r"].tolist()


def main(arguments: Sequence[str] | None = None) -> tuple[list[float], list[float]]:
    """Play, and return the episodes' returns: those of the single environment, and those of the vector environment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="shapes")
    parser.add_argument("--output", default="videos")
    parser.add_argument("--episodes", type=int, default=2)
    parser.add_argument("--num-envs", type=int, default=4)
    parser.add_argument("--steps", type=int, default=15)
    args = parser.parse_args(arguments)
    options = {"dataset": args.dataset, "max_steps": args.steps, "shots": 10, "reward": "delta_iou"}
    one = play_single(args.output, args.episodes, **options)
    many = play_vector(args.output, args.num_envs, **options)
    print("one after another:", *(f"{value:+.3f}" for value in one))
    print("side by side:     ", *(f"{value:+.3f}" for value in many))
    return one, many


if __name__ == "__main__":
    main()
