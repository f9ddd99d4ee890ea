"""The config group ``evaluate``: its values checked, its prompting strategies looked up."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig
from stable_baselines3.common.policies import BasePolicy

from alignsam_gym.envs.episode import Episode
from alignsam_gym.errors import check_choice, check_count, check_list, check_switch
from alignsam_gym.evaluation.prompting_strategies import PromptingStrategy, prompting_strategies


def check_evaluation_options(config: DictConfig) -> None:
    """Check the seed, and the counts and switches in the config group ``evaluate``.

    Raises:
        OptionError: If one of them cannot be.
    """
    options = config.evaluate
    check_seed(config.seed)
    check_choice("evaluate.split", options.get("split", "test"), ("test", "development"))
    for name in ("deterministic", "save_predictions"):
        check_switch(f"evaluate.{name}", options.get(name, False))
    check_count("evaluate.batch_size", options.batch_size, "at least one image is prompted at once")
    check_count("evaluate.filmstrips", options.get("filmstrips", 0), "a count of test images, or 0 for none", least=0)
    if options.limit is not None:
        check_count("evaluate.limit", options.limit, "at least one test image is measured")


def check_seed(seed: Any) -> None:
    """Check a seed.

    Raises:
        OptionError: Unless it is a whole number from 0 on.
    """
    check_count("seed", seed, "seeds are 0 and above", least=0)


def chosen_strategies(
    config: DictConfig, episode: Episode, policy: BasePolicy, untrained: BasePolicy
) -> tuple[dict[str, PromptingStrategy], dict[str, PromptingStrategy]]:
    """Look up the prompting strategies that a configuration names.

    Args:
        config: A run's.
        episode: Says whether there is CLIP's map to prompt by.
        policy: The agent's.
        untrained: The one that its training began with.

    Returns:
        Those to measure, and those to draw filmstrips of, by name.

    Raises:
        OptionError: If there is no name, an unknown one, or one that needs CLIP's map where there is none.
    """
    options = config.evaluate
    for name in ("strategies", "filmstrip_strategies"):
        check_list(f"evaluate.{name}", options.get(name))
    known = policy, untrained, options.deterministic, config.seed, episode.encoded.clip is not None
    drawn_names = options.get("filmstrip_strategies", ["agent"])
    drawn = prompting_strategies(*known, drawn_names, "evaluate.filmstrip_strategies")
    return prompting_strategies(*known, options.get("strategies")), drawn
