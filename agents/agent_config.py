"""What a trained agent needs to act, drawn from a configuration that anyone may have written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import NoneType
from typing import Any, NoReturn, get_type_hints

from omegaconf import OmegaConf

from alignsam_gym.agents.embedded_weights import EMBEDDED
from alignsam_gym.agents.policy_config import PolicyConfig
from alignsam_gym.agents.trained_run import CONFIG, GROUPS, load_config
from alignsam_gym.data.image_files import IntensityRange, check_intensity_range
from alignsam_gym.envs.env_config import ModelOptions, VectorEnvConfig
from alignsam_gym.envs.episode_factory import needs_text
from alignsam_gym.envs.rules import Rules
from alignsam_gym.errors import OptionError, WeightsError
from alignsam_gym.foundation.sam.hf_checkpoints import HF, WEIGHTS_FILE, is_repository
from alignsam_gym.foundation.sam.official_checkpoints import CHECKPOINTS, file_digest
from alignsam_gym.options import Options, alternatives, check_value
from alignsam_gym.srm import SRMConfig

DIGEST = "sha256:"
"""How a configuration names weights that are no official ones: this and their SHA-256, after a CLIP's architecture."""

_CHECKED = {"env": VectorEnvConfig, "srm": SRMConfig, "policy": PolicyConfig}
"""The declarations of what may stand in a group."""
_PORTABLE = {
    "env": [each.name for kind in (ModelOptions, Rules) for each in fields(kind) if each.name != "reward"],
    "srm": list(SRMConfig.of_maps),
}
"""The options that prediction depends on; of the SRM, those that its maps depend on."""
_MOST = {"n_steps": 100_000, "buffer_size": 1_000_000}
"""Of the config group ``agent``: the largest number that is believed, as more would fill the memory."""
_MOST_PATCHES = 64  # a side
_WIDEST = 8192  # channels of a side's patches together, whose square is the weights of a layer
_DEEPEST = 16  # layers of an LSTM


@dataclass(frozen=True)
class AgentConfig:
    """The part of a run's configuration that prediction depends on.

    Attributes:
        env: Keywords of ``AlignSAM-v0``.
        srm: Options of `SRMConfig`.
        agent: The config group ``agent``, for `make_policy`.
        policy: The config group ``policy``, options of `PolicyConfig`.
        dataset: The name of the data set that the agent was trained on.
        text: What the agent was trained to look for, where a text guides it; None if that differs by image.
        intensity_range: How images of more than 8 bits were read in training, and are read now.
        embedded: The weights of the embedded models in training, from `embedded_weights`. None if the configuration
            does not say.
    """

    env: dict[str, Any]
    srm: dict[str, Any]
    agent: dict[str, Any]
    policy: dict[str, Any]
    dataset: str
    text: str | None
    intensity_range: IntensityRange = "auto"
    embedded: dict[str, str] | None = None

    @property
    def guided(self) -> bool:
        """Whether a text guides the agent."""
        words = (str(self.env.get(name)) for name in ("branch", "label_source", "initial_prompts"))
        return needs_text(*words)

    @property
    def needs_clip(self) -> bool:
        """Whether a CLIP is looked at: for a text's map, or for what the SRM sees."""
        return self.guided or self.srm.get("features", "sam") != "sam"

    def write(self, folder: Path) -> None:
        """Write the ``config.yaml`` that `read_agent_config` reads."""
        groups = {
            "env": self.env,
            "srm": self.srm,
            "agent": self.agent,
            "policy": self.policy,
            "dataset": {"name": self.dataset, "text": self.text, "intensity_range": self.intensity_range},
            EMBEDDED: self.embedded,
        }
        OmegaConf.save(OmegaConf.create(groups), folder / CONFIG)


def read_agent_config(folder: Path) -> AgentConfig:
    """Read the configuration of a run or bundle, which anyone may have written.

    Names, types and sizes of options are checked, so that a stranger's file cannot fill the memory. What it names as
    ``env.sam`` and ``env.clip`` may be any word: ask `official` before anything is opened.

    Raises:
        WeightsError: There is no configuration, or one that no training writes.
    """
    values: Any = OmegaConf.to_container(load_config(folder))
    try:
        return _checked(values)
    except _RefusalError as problem:
        raise WeightsError(f"{folder / CONFIG} is refused: {problem}.") from None


class _RefusalError(Exception):
    """What is wrong with a configuration."""


def _checked(config: Mapping[str, Any]) -> AgentConfig:
    env, srm, agent, policy, dataset = (config[name] for name in GROUPS)
    for group, options in _CHECKED.items():
        _check_options(group, config[group], options)
    _check_sizes(env, policy)
    _check_agent(agent, policy)
    text = config.get("text", dataset.get("text"))  # where it was learned, or where a bundle has it
    if not isinstance(text, str | None):
        raise _RefusalError(f"text={text!r} is not a text")
    intensity_range = dataset.get("intensity_range", "auto")
    try:
        check_intensity_range(intensity_range)
    except OptionError as error:
        raise _RefusalError(f"dataset.{str(error).rstrip('.')}") from None
    embedded = config.get(EMBEDDED)
    if not (
        embedded is None or (isinstance(embedded, dict) and all(isinstance(one, str) for one in embedded.values()))
    ):
        raise _RefusalError(f"{EMBEDDED}={embedded!r} does not name weights by their SHA-256")
    chosen = {name: env[name] for name in _PORTABLE["env"] if name in env}
    seen = {name: srm[name] for name in _PORTABLE["srm"] if name in srm}
    if chosen.get("clip", "tiny") is None:  # as in its training, in which the SRM saw SAM's embedding alone
        del chosen["clip"]
        seen["features"] = "sam"
    return AgentConfig(chosen, seen, agent, policy, str(dataset.get("name", "")), text, intensity_range, embedded)


def _check_options(group: str, values: Mapping[str, Any], options: type[Options]) -> None:
    """Check names, types and sizes of a group by the declaration of its options."""
    declared = {each.name: each for each in fields(options)}
    hints = get_type_hints(options)
    for name, value in values.items():
        if name not in declared:
            raise _RefusalError(f"{group}.{name} is unknown here (does it come from another version of alignsam-gym?)")
        portable = group != "env" or name in _PORTABLE["env"]
        plain = {str, NoneType} & {*alternatives(hints[name])}
        if portable and str in plain and type(value) not in plain:
            _refuse_value(group, name, value, "a word")
        try:
            check_value(f"{group}.{name}", value, hints[name], declared[name])
        except OptionError as error:
            raise _RefusalError(str(error).rstrip(".")) from None
        most = declared[name].metadata["most"]
        if most is not None and value is not None and not value <= most:  # which NaN is not
            _refuse_value(group, name, value, f"a number up to {most}")


def _check_sizes(env: Mapping[str, Any], policy: Mapping[str, Any]) -> None:
    rules = Rules(**{name: env[name] for name in ("image_size", "patch_size") if name in env})
    if rules.grid.side > _MOST_PATCHES:
        raise _RefusalError(f"env.patch_size makes more than {_MOST_PATCHES} patches a side")
    if policy.get("width", 1) * rules.grid.side > _WIDEST:
        raise _RefusalError(
            f"policy.width and {rules.grid.side} patches a side make more than {_WIDEST} channels together"
        )


def _check_agent(agent: Mapping[str, Any], policy: Mapping[str, Any]) -> None:
    for name, most in _MOST.items():
        value = agent.get(name, 1)
        if type(value) is not int or not 1 <= value <= most:
            _refuse_value("agent", name, value, f"a whole number from 1 to {most}")
    sizes = agent.get("policy_kwargs", {})
    if not isinstance(sizes, dict) or not all(_is_small(one) for one in sizes.values()):
        _refuse_value("agent", "policy_kwargs", sizes, "switches, and numbers up to 1024, by name")
    if (layers := sizes.get("n_lstm_layers", 1)) > _DEEPEST:
        _refuse_value("agent", "policy_kwargs.n_lstm_layers", layers, f"a number up to {_DEEPEST}")
    for group, values in (("agent", {**agent, "policy_kwargs": None}), ("policy", policy)):
        for name, value in values.items():
            many = value if isinstance(value, list) else [value]
            if not all(isinstance(one, str | int | float | None) for one in many):
                _refuse_value(group, name, value, "a value or a list of values")


def _is_small(value: object) -> bool:
    return isinstance(value, bool) or (isinstance(value, int | float) and 0 < value <= 1024)


def _refuse_value(group: str, name: str, value: object, wanted: str) -> NoReturn:
    raise _RefusalError(f"{group}.{name}={value!r} is not {wanted}")


def official(kind: str, name: str) -> bool:
    """Tell whether `name` is a published model, and so no file.

    Args:
        kind: ``sam`` or ``clip``.
        name: A configuration's ``env.sam`` or ``env.clip``.
    """
    if name == "tiny" or kind == "sam":
        return name == "tiny" or name in CHECKPOINTS or is_repository(name)
    import open_clip  # takes seconds

    architecture, _, tag = name.partition("/")
    return tag in open_clip.list_pretrained_tags_by_model(architecture)


def weights_file(kind: str, name: str) -> Path:
    """Return the file that a name means which is not `official`."""
    if kind == "sam":
        return Path(name.removeprefix(HF), WEIGHTS_FILE if name.startswith(HF) else "").expanduser()
    return Path(name.partition("/")[2]).expanduser()


def portable(kind: str, name: str) -> str:
    """Name a SAM or a CLIP for other machines: a path of this one becomes ``sha256:`` and the file's SHA-256.

    Args:
        kind: ``sam`` or ``clip``.
        name: A configuration's ``env.sam`` or ``env.clip``.

    Raises:
        WeightsError: The file is missing.
    """
    if is_digest(kind, name) or official(kind, name):
        return name
    file = weights_file(kind, name)
    if not file.is_file():
        raise WeightsError(f"env.{kind}={name!r} is no file on this machine, so that its SHA-256 cannot be told.")
    architecture = "" if kind == "sam" else f"{name.partition('/')[0]}/"
    return f"{architecture}{DIGEST}{file_digest(file)}"


def is_digest(kind: str, name: str) -> bool:
    """Tell whether a name of a SAM or a CLIP (`kind`) holds a file's SHA-256 instead of its path."""
    return (name if kind == "sam" else name.partition("/")[2]).startswith(DIGEST)
