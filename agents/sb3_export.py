"""A trained policy as Stable-Baselines3's own file, for its other tools."""

from __future__ import annotations

from pathlib import Path

from alignsam_gym.agents.agent_config import read_agent_config
from alignsam_gym.agents.algorithms import make_learner
from alignsam_gym.agents.bundle import SUFFIX, opened
from alignsam_gym.agents.pretrained import restore, with_models
from alignsam_gym.agents.vec_env import PromptVecEnv
from alignsam_gym.errors import OptionError, WeightsError


def export_sb3(source: Path, target: Path, sam: str | None = None, clip: str | None = None) -> Path:
    """Write the policy of a run or bundle as the zip that its algorithm's ``load`` reads.

    The zip holds neither the SRM nor the state of the optimiser. It holds pickles: load only those that you trust.

    Args:
        source: Folder of a run, or a bundle.
        target: Without a suffix it gets ``.zip``.
        sam: As for `AlignSAM.from_pretrained`.
        clip: The same.

    Returns:
        The zip's path.

    Raises:
        AlignSAMError: The agent cannot be loaded, or the zip cannot be written.
    """
    if target.suffix == SUFFIX:
        raise OptionError(f"{target}: {SUFFIX} is the suffix of a bundle; let SB3's file end in .zip.")
    target = target.expanduser()
    target = target if target.suffix else target.with_suffix(".zip")  # as SB3 does
    with opened(source) as folder:
        config = with_models(read_agent_config(folder), sam, clip)
        env, policy = restore(folder, config, "cpu", batch_size=1)
    try:
        model = make_learner(PromptVecEnv(env), config.agent, config.policy, seed=0)
    except MemoryError as error:
        raise WeightsError(f"What the agent of {source} keeps in training is more than the memory: {error}.") from error
    model.policy.load_state_dict(policy.state_dict())
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:  # by a path, SB3 may choose another than that of a folder
            model.save(file)
    except OSError as error:
        raise WeightsError(f"{target} cannot be written ({error.strerror}).") from error
    return target
