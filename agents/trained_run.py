"""A run: the environments of its configuration, and the agent that it trained."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from stable_baselines3.common.policies import BasePolicy

from alignsam_gym.agents.agent_weights import load_agent
from alignsam_gym.agents.algorithms import make_policy
from alignsam_gym.agents.embedded_weights import EMBEDDED, check_embedded_weights
from alignsam_gym.agents.networks import observation_of
from alignsam_gym.agents.vec_env import PromptVecEnv, make_environments
from alignsam_gym.data import Dataset
from alignsam_gym.envs.alignsam_vector_env import AlignSAMVectorEnv
from alignsam_gym.envs.episode_factory import warn_of_features
from alignsam_gym.errors import OptionError, WeightsError
from alignsam_gym.srm import SRM

CONFIG = "config.yaml"
METRICS_FILE = "metrics.json"
"""What an evaluation leaves in a run's folder: a run is finished when it is there."""
GROUPS = ("env", "srm", "agent", "policy", "dataset")
"""Of the configuration: what any use of a run needs."""
_KEYS_OF_0_1 = ("env.cells", "srm.blank_every", "srm.select_every", "srm.text_trust", "policy.first_trust")
_LARGEST = 16 * 1024  # bytes; a run's has two thousand


def make_env(
    config: DictConfig, split: str, num_envs: int, srm: SRM | None = None, samples: Dataset | None = None
) -> AlignSAMVectorEnv:
    """Make the vector environment of a configuration.

    Args:
        config: The configuration of a training.
        split: ``train``, ``development`` or ``test``. In the last two ``evaluate.max_steps`` holds, if it is given.
        num_envs: Rows of the environment.
        srm: A trained SRM, used frozen; None for a new one, as configured.
        samples: A data set to play on instead of the configured one.
    """
    options: dict[str, Any] = OmegaConf.to_container(config.env, resolve=True)  # type: ignore[assignment]
    options.pop("num_envs")
    if split != "train":
        given = config.evaluate.get("max_steps")
        options["max_steps"] = config.env.max_steps if given is None else given
    source: dict[str, Any] = {"dataset": samples}
    if samples is None:
        name, kwargs = dataset_options(config)
        source = {"dataset": name, "dataset_kwargs": kwargs}
    return make_environments(
        num_envs,
        observation_of(config.policy),
        split=split,
        srm=srm if srm is not None else _srm_options(config),
        device=config.device,
        cache_dir=config.get("cache_dir"),
        **options,
        **source,
    )


def _srm_options(config: DictConfig) -> dict[str, Any]:
    """Return the options of a new SRM. ``features`` come from the experiment, so ``env.clip=null`` overrules them."""
    options: dict[str, Any] = dict(config.srm)
    if config.env.get("clip", "tiny") is None and options.get("features", "sam") != "sam":
        warn_of_features(options["features"])
        options["features"] = "sam"
    return options


def dataset_options(config: DictConfig) -> tuple[str, dict[str, Any]]:
    """Return the name and the options of a configuration's data set.

    Raises:
        omegaconf.errors.MissingMandatoryValue: An option is missing.
        OptionError: There are options, but no data set.
    """
    options: Any = OmegaConf.to_container(config.dataset, resolve=True, throw_on_missing=True)
    if "name" not in options:
        given = ", ".join(f"dataset.{option}" for option in options) or "dataset={}"
        raise OptionError(f"{given}: the data set itself is not named; add dataset=folder, or another.")
    return options.pop("name"), options


def load_run(folder: Path, config: DictConfig, samples: Dataset | None = None) -> tuple[AlignSAMVectorEnv, BasePolicy]:
    """Make a finished run's test environment, and load its trained policy.

    Args:
        folder: The run's folder.
        config: The run's configuration (`load_config`). What the networks do not depend on may have been changed.
        samples: A data set to play on instead of the configured one.

    Raises:
        WeightsError: The folder does not hold the agent of this configuration, or it was trained with other weights of
            the embedded models.
    """
    env = make_env(config, config.evaluate.get("split", "test"), config.evaluate.batch_size, samples=samples)
    encoded = env.episode.encoded
    needs_clip = bool(encoded.clip or encoded.features)
    check_embedded_weights(folder, config.get(EMBEDDED), config.env, needs_clip)
    return env, trained_policy(folder, env, config.agent, config.policy)


def trained_policy(
    folder: Path, env: AlignSAMVectorEnv, agent: Mapping[str, Any], policy: Mapping[str, Any]
) -> BasePolicy:
    """Load the policy in a run's folder, and the trained weights of the environment's SRM.

    Args:
        folder: The run's folder.
        env: The environment that the policy is for.
        agent: The config group ``agent``.
        policy: The config group ``policy``.

    Raises:
        WeightsError: The folder does not hold such an agent.
    """
    trained = make_policy(PromptVecEnv(env), agent, policy)
    load_agent(folder, trained, env.episode.srm)
    trained.set_training_mode(False)
    return trained


def load_config(folder: Path) -> DictConfig:
    """Read the resolved configuration that a run left in its folder.

    A stranger's file does no harm. A resolved configuration has no interpolations, which could read environment
    variables, and no references, which could fill the memory; a file with either is refused.

    Raises:
        WeightsError: There is no configuration, or it is refused, or another version wrote it.
    """
    file = folder / CONFIG
    if not file.exists():
        raise WeightsError(f"{folder} is not the folder of a training: it has no {CONFIG}.")
    try:
        if file.stat().st_size > _LARGEST:
            raise WeightsError(f"{file} is no configuration of a run: it has more than {_LARGEST} bytes.")
        text = file.read_text(encoding="utf-8")
        if any(isinstance(token, yaml.AnchorToken | yaml.AliasToken | yaml.TagToken) for token in yaml.scan(text)):
            raise WeightsError(f"{file} is refused: it holds tags or references, which no run writes.")
        config = OmegaConf.load(io.StringIO(text))
        values = OmegaConf.to_container(config)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, OmegaConfBaseException, RecursionError) as error:
        raise WeightsError(f"{file} is no configuration of a run ({type(error).__name__}).") from error
    if not isinstance(config, DictConfig):
        raise WeightsError(f"{file} is no configuration of a run: it is a list.")
    if any("${" in text for text in _texts(values)):
        raise WeightsError(f"{file} is refused: it holds interpolations, ${{…}}, which no run writes.")
    lacking = [name for name in GROUPS if not OmegaConf.is_dict(config.get(name))]
    if lacking:
        raise WeightsError(f"{file} has no group {lacking[0]!r}, as a training of this version has; train again.")
    if any(OmegaConf.select(config, key) is not None for key in _KEYS_OF_0_1):
        raise WeightsError(f"{file} was written by alignsam-gym 0.1.0: read it with that version, or train again.")
    return config


def load_training(folder: Path) -> DictConfig:
    """Read the configuration of a training, with its settings of evaluation, which a bundle has not.

    Raises:
        WeightsError: As for `load_config`; or the folder is a bundle.
    """
    config = load_config(folder)
    if "evaluate" not in config:
        raise WeightsError(f"{folder} is a bundle, which has no settings of a training; give the training's folder.")
    return config


def _texts(value: Any) -> Iterable[str]:
    """Yield all strings in nested dicts and lists."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield from _texts(name)
            yield from _texts(member)
    elif isinstance(value, list):
        for member in value:
            yield from _texts(member)
    elif isinstance(value, str):
        yield value
