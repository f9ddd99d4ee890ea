"""What prompts SAM on the page: a trained agent, or CLIP's map of a text, which needs no training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from agents.predictor import AlignSAM
from agents.prompter import AgentPrompter
from alignsam_gym.data.samples import Sample
from alignsam_gym.envs.episode import Episode, Rules
from alignsam_gym.envs.factory import make_episode
from alignsam_gym.envs.prompters import Prompter, clip_prompter
from alignsam_gym.foundation.clip_surgery import TextMaps
from alignsam_gym.foundation.encoded import EncodedDataset
from alignsam_gym.foundation.sam import PromptableModel
from alignsam_gym.foundation.store import RecentStore, Store
from alignsam_gym.srm import SRM

_RECENT = 8  # encodings kept, of 2 to 8 MiB each

BY_CLIP = (
    "**CLIP's map of your text** points; nothing is trained. Each step prompts at the patch that the map gives most to "
    "the text, among those not yet chosen, as positive where the map is above one half, else as negative. The embedded "
    "CLIP knows the texts on the list; any other gives it a map of things in general."
)
BY_AGENT = "**The trained agent of {run}** points, {labels}. {guided}"
LABELS = {
    "srm": "and its semantic recalibration module tells positive from negative",
    "last": "and SAM's last mask tells positive from negative",
    "clip": "and CLIP's map tells positive from negative",
    "positive": "and every prompt is positive",
}


@dataclass(frozen=True)
class Pointer:
    """A way of prompting with its models.

    how: what it does, as Markdown. clip: None where no text guides it. text: what it looks for unless told otherwise.
    """

    how: str
    rules: Rules
    model: PromptableModel
    clip: TextMaps | None
    srm: SRM
    prompter: Prompter
    text: str | None = None
    store: Store = field(default_factory=lambda: RecentStore(_RECENT))

    def episode(self, sample: Sample) -> Episode:
        """One on this sample alone."""
        encoded = EncodedDataset(Samples(sample), self.model, self.store, self.rules.grid.image_size, self.clip)
        return Episode(self.rules, encoded, self.srm, learns=False, count=1)


class Samples:
    """A few samples as a data set."""

    name = "demo"

    def __init__(self, *samples: Sample) -> None:
        self.samples = samples
        self.ids: Sequence[str] = [sample.id for sample in samples]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]


class Pointers:
    """Those that the page offers, each loaded when it is first asked for.

    runs: trainings or bundles, each a pointer of its own name. sam, clip: as for `AlignSAM.load`.
    """

    def __init__(self, runs: Sequence[Path], sam: str | None, clip: str | None, device: str) -> None:
        self.runs = {str(run): run for run in runs}
        self.sam, self.clip, self.device = sam, clip, device
        self.get = cache(self._load)

    @property
    def names(self) -> list[str]:
        return [*self.runs, UNTRAINED]

    def _load(self, name: str) -> Pointer:
        return self._agent(self.runs[name]) if name in self.runs else self._untrained()

    def _agent(self, run: Path) -> Pointer:
        agent = AlignSAM.load(run, sam=self.sam, clip=self.clip, device=self.device, batch_size=1)
        guided = "A text guides it." if agent.clip else "No text guides it: it looks for what it was trained on."
        how = BY_AGENT.format(run=run.name, labels=LABELS[agent.rules.label_source], guided=guided)
        prompter = AgentPrompter(agent.policy, deterministic=True)
        return Pointer(how, agent.rules, agent.model, agent.clip, agent.srm, prompter, agent.text)

    def _untrained(self) -> Pointer:
        episode = make_episode(
            1,
            dataset=Samples(),
            split="test",
            sam=self.sam or "tiny",
            clip=self.clip or "tiny",
            branch="implicit",
            label_source="clip",
            initial_prompts="clip",
            revisit="forbid",
            device=self.device,
        )
        return Pointer(BY_CLIP, episode.rules, episode.model, episode.encoded.clip, episode.srm, clip_prompter)


UNTRAINED = "CLIP's map of a text (no training)"
