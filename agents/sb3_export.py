"""A trained policy as Stable-Baselines3's own file, for its other tools."""

from __future__ import annotations

from pathlib import Path

from agents.algorithms import make_ppo
from agents.predictor import Unlabelled
from agents.runs import load_run
from agents.vec_env import PromptVecEnv
from alignsam_gym.errors import WeightsError


def export_sb3(run: Path, target: Path) -> None:
    """Write the policy of a run's folder as the zip that ``PPO.load`` reads. Raises WeightsError.

    The SRM is not in it, nor the state of the optimiser. Such a zip holds pickles: load only those that you trust.
    """
    config, env, policy = load_run(run, {"evaluate.batch_size": 1}, samples=Unlabelled([], None))
    model = make_ppo(PromptVecEnv(env), config.agent, config.seed)
    model.policy.load_state_dict(policy.state_dict())
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        model.save(target)
    except OSError as error:
        raise WeightsError(f"{target} cannot be written ({error.strerror}).") from error
