"""The prompting strategies that are measured side by side, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

from stable_baselines3.common.policies import BasePolicy

from alignsam_gym.agents.agent_prompter import AgentPrompter
from alignsam_gym.envs.episode import Episode
from alignsam_gym.envs.prompters import (
    Prompter,
    RandomPrompter,
    clip_prompter,
    disagreement_prompter,
    grid_prompter,
    oracle_prompter,
    srm_prompter,
)
from alignsam_gym.errors import OptionError


class PromptingStrategy(NamedTuple):
    """A prompter and the rules that its episodes go by.

    Attributes:
        prompter: Chooses the next patches.
        rules: Fields of the episode's rules that the strategy changes, with their values.
    """

    prompter: Prompter
    rules: Mapping[str, Any] = {}


@contextmanager
def played_by(episode: Episode, rules: Mapping[str, Any]) -> Iterator[None]:
    """Change the episode's rules for as long as the context lasts.

    Args:
        episode: Has its own rules again afterwards.
        rules: Fields of its rules, with their values.
    """
    own = episode.rules
    episode.rules = replace(own, **rules)
    try:
        yield
    finally:
        episode.rules = own


DEFAULT_STRATEGIES = (
    "agent", "agent, untrained", "random", "srm", "disagreement", "clip", "agent, true labels", "oracle",
)  # fmt: skip
"""What is compared unless ``evaluate.strategies`` says otherwise; ``clip`` only where there is one."""

_BY_SAM = ", answer: sam"


def prompting_strategies(
    policy: BasePolicy,
    untrained: BasePolicy,
    deterministic: bool,
    seed: int,
    clip: bool,
    names: Sequence[str] | None = None,
    key: str = "evaluate.strategies",
) -> dict[str, PromptingStrategy]:
    """Return the strategies of these names, in the same order.

    ``agent, labels: last``, ``clip`` and ``positive`` are the trained agent with labels from elsewhere, in the
    evaluation only ("RL+LAST", "RL+SCLIP" and "RL only" of Table 8, the last also "Ours-w/o SRM" of Tables 2 and 3).
    Their answer is the agent's: where that is fused, the SRM's map is still in it. [ours] ``random`` is "Ours-w/o RL",
    with the SRM that was trained along with the agent. [ours]
    ``agent, untrained`` chooses as the agent did before its training, with the SRM that was trained along with it.
    [ours] ``agent, one step`` is the agent stopped after its first prompt ("Ours-w/o MSI"). All of them begin with the
    agent's initial pair. [ours] ``clip`` looks at no SRM. ``, answer: sam`` after a name: the same prompts, and SAM's
    answer alone is measured. [ours]

    Args:
        policy: The trained agent's.
        untrained: The one that its training began with.
        deterministic: Whether the agent prompts its likeliest patches; else it draws them.
        seed: Of the agent's draws and of random prompting.
        clip: Whether there is CLIP's map to prompt by.
        names: None for `DEFAULT_STRATEGIES`.
        key: The configuration's key that holds the names, for error messages.

    Raises:
        OptionError: If there is no name, an unknown one, or one that needs CLIP's map where there is none.
    """
    agent, before = (AgentPrompter(each, deterministic, seed) for each in (policy, untrained))
    known = _known_strategies(agent, before, seed)
    by_clip = {name for name, strategy in known.items() if strategy.rules.get("label_source") == "clip"}
    lacking = set() if clip else by_clip
    if names is None:
        names = [name for name in DEFAULT_STRATEGIES if name not in lacking]
    if not names:
        raise OptionError(f"{key} is empty; name at least one of {_listed(known)}.")
    for name in names:
        if name not in known:
            raise OptionError(f"{key}={name!r} is unknown; choose from {_listed(known)}.")
        if name in lacking:
            raise OptionError(f"{key}={name!r} needs CLIP's map; train with branch=explicit.")
    return {name: known[name] for name in names}


def _known_strategies(agent: AgentPrompter, untrained: AgentPrompter, seed: int) -> dict[str, PromptingStrategy]:
    true_labels = {"label_source": "oracle"}
    known = {
        "agent": PromptingStrategy(agent),
        "agent, untrained": PromptingStrategy(untrained),
        "random": PromptingStrategy(RandomPrompter(seed)),
        "grid": PromptingStrategy(grid_prompter),
        "srm": PromptingStrategy(srm_prompter),
        "disagreement": PromptingStrategy(disagreement_prompter),
        "clip": PromptingStrategy(clip_prompter, {"label_source": "clip", "initial_prompts": "clip", "answer": "sam"}),
        "agent, true labels": PromptingStrategy(agent, true_labels),
        "oracle": PromptingStrategy(oracle_prompter, true_labels),
        "agent, labels: last": PromptingStrategy(agent, {"label_source": "last"}),
        "agent, labels: clip": PromptingStrategy(agent, {"label_source": "clip"}),
        "agent, labels: positive": PromptingStrategy(agent, {"label_source": "positive"}),
        "agent, one step": PromptingStrategy(agent, {"max_steps": 1}),
    }
    return known | {
        name + _BY_SAM: PromptingStrategy(prompter, {**rules, "answer": "sam"})
        for name, (prompter, rules) in known.items()
        if "answer" not in rules
    }


def _listed(known: Mapping[str, PromptingStrategy]) -> str:
    names = ", ".join(repr(name) for name in known if not name.endswith(_BY_SAM))
    return f"{names}, or one of them with {_BY_SAM!r} after it"
