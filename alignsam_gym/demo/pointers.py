"""What prompts SAM on the page: a trained agent, or CLIP's map of a text, which needs no training."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory

from alignsam_gym.agents.bundle import MEMBERS, SUFFIX
from alignsam_gym.agents.pretrained import AlignSAM
from alignsam_gym.agents.vec_env import make_environments
from alignsam_gym.envs.prompters import clip_prompter
from alignsam_gym.envs.prompting_session import PromptingSession, UnlabelledImages
from alignsam_gym.errors import AlignSAMError, OptionError
from alignsam_gym.foundation.encoding.embedding_store import RecentStore

UNTRAINED = "CLIP's map of a text (no training)"

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
    """A prompting strategy with its models.

    Attributes:
        name: As the page lists it.
        short: As the page calls it beside an image: of a run, the last parts of its path.
        how: What it does, as Markdown.
        guided: Whether a text guides it.
        new_session: Makes a session for one visit. Sessions share their models and encodings.
    """

    name: str
    short: str
    how: str
    guided: bool
    new_session: Callable[[], PromptingSession]


class Pointers:
    """The pointers that the page offers, each loaded when it is first asked for.

    Args:
        runs: Folders of runs, or bundles; each is a pointer, named by its path.
        sam: As for `AlignSAM.from_pretrained`.
        clip: The same.
        device: The same.
    """

    def __init__(self, runs: Sequence[Path], sam: str | None, clip: str | None, device: str) -> None:
        self.runs = {str(run): run for run in runs}
        self.sam, self.clip, self.device = sam, clip, device
        self.get = cache(self._load)

    @property
    def names(self) -> list[str]:
        """Those of the runs, then the one that needs no run."""
        return [*self.runs, UNTRAINED]

    def load_dropped(self, files: Sequence[Path], name: str) -> Pointer:
        """Load an agent of a stranger's; see `AlignSAM.from_pretrained` for what it may not do.

        Args:
            files: A bundle, or the files of a run that it is made of.
            name: What a run is called, whose folder's name the files do not tell. A bundle is called by its own.

        Raises:
            OptionError: These are other files.
            AlignSAMError: The agent is refused, damaged, or needs weights that are not here.
        """
        found = {file.name: file for file in files}
        with TemporaryDirectory() as folder:
            if len(files) == 1 and files[0].suffix == SUFFIX:
                source, name = files[0], files[0].name
            elif set(MEMBERS) <= set(found):
                source = Path(folder)
                for member in MEMBERS:
                    copyfile(found[member], source / member)
            else:
                raise OptionError(
                    f"{', '.join(sorted(found))}: this is no agent. Drop a file NAME{SUFFIX}, or a run's folder with "
                    f"{', '.join(MEMBERS)} in it."
                )
            try:
                return self._agent(source, name, name)
            except AlignSAMError as error:  # which names a temporary place
                raise type(error)(str(error).replace(str(source), name)) from None

    def _load(self, name: str) -> Pointer:
        run = self.runs.get(name)
        return self._agent(run, name, _shorten(run, self.runs.values())) if run else self._untrained()

    def _agent(self, run: Path, name: str, short: str) -> Pointer:
        agent = AlignSAM.from_pretrained(run, sam=self.sam, clip=self.clip, device=self.device, batch_size=1)
        guided = "A text guides it." if agent.clip else "No text guides it: it looks for what it was trained on."
        how = BY_AGENT.format(run=short, labels=LABELS[agent.rules.label_source], guided=guided)
        return Pointer(name, short, how, agent.clip is not None, agent.session)

    def _untrained(self) -> Pointer:
        episode = make_environments(
            1,
            dataset=UnlabelledImages(),
            split="test",
            sam=self.sam or "tiny",
            clip=self.clip or "tiny",
            branch="implicit",
            label_source="clip",
            initial_prompts="clip",
            revisit="forbid",
            device=self.device,
        ).episode
        clip, store = episode.encoded.clip, RecentStore()

        def new_session() -> PromptingSession:
            return PromptingSession(episode.rules, episode.model, episode.srm, clip_prompter, clip=clip, store=store)

        return Pointer(UNTRAINED, UNTRAINED, BY_CLIP, True, new_session)


def _shorten(path: Path, all_paths: Collection[Path]) -> str:
    """Return the fewest last parts of a path that no other path ends with."""
    others = [other.parts for other in all_paths if other != path]
    for length in range(1, len(path.parts)):
        parts = path.parts[-length:]
        if all(other[-length:] != parts for other in others):
            return str(Path(*parts))
    return str(path)
