"""What all windows of the labelling page share: the folder, SAM, the agent and its proposals, and the training."""

from __future__ import annotations

import glob
from collections.abc import Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from itertools import islice
from pathlib import Path
from threading import Lock

import numpy as np
from hydra.core.override_parser.types import Quote, QuotedString
from torch import Tensor

from alignsam_gym.agents.pretrained import AlignSAM
from alignsam_gym.data.image_files import read_image
from alignsam_gym.errors import AlignSAMError, DataError, OptionError
from alignsam_gym.labelling.clicked_sam import ClickedSam
from alignsam_gym.labelling.photo_folder import PhotoFolder
from alignsam_gym.labelling.proposal_outcomes import ProposalOutcomes
from alignsam_gym.labelling.proposals import Proposals
from alignsam_gym.labelling.saved_masks import SavedMasks
from alignsam_gym.labelling.training_process import TrainingProcess

FEWEST_MASKS = 5
"""Masks with foreground before a training makes sense. [ours]"""

_BRIEF_EVALUATION = ("evaluate.strategies=[agent]", "evaluate.filmstrips=0")

_IMAGES, _ENCODINGS = 4, 16  # of the latest photographs, in memory


class LabellingProject:
    """A folder that is being labelled.

    Args:
        folder: The photographs.
        sam: Answers prompts.
        train: The words of the command that trains, up to its arguments.
        options: Further arguments of that command.
        device: Where agents run.
        run: The folder of a run, or a bundle, whose agent proposes masks until another is trained.

    Attributes:
        masks: Those on the disk.
        training: Of agents on these masks.
        outcomes: What became of the agent's proposals.
        proposals: The agent's; None while there is no agent.
        problem: Why the agent that was trained last proposes nothing; empty if nothing is wrong with it.
        unreadable: Photographs that could not be opened, or their masks.

    Raises:
        AlignSAMError: The agent of `run` cannot be loaded, or not be used here.
    """

    def __init__(
        self,
        folder: PhotoFolder,
        sam: ClickedSam,
        train: Sequence[str],
        options: Sequence[str] = (),
        device: str = "auto",
        run: Path | None = None,
    ) -> None:
        self.folder, self.sam, self._device = folder, sam, device
        self.masks = SavedMasks(folder)
        self.training_options = [*folder.dataset_options, f"device={device}", *options]
        self.training = TrainingProcess(train, self.training_arguments, folder.state, self.take_agent)
        self.outcomes = ProposalOutcomes(folder.state / "outcomes.json")
        self.proposals: Proposals | None = None
        self.problem = ""
        self.unreadable: set[str] = set()
        self.pixels = lru_cache(_IMAGES)(self._read)
        self._encoder = ThreadPoolExecutor(1, "encoder")
        self._encodings: dict[str, Future[Tensor]] = {}
        self._encodings_lock = Lock()
        if run:
            self.take_agent(run)
        elif agent := self.training.finished_agent():
            try:
                self.take_agent(agent)
            except AlignSAMError as error:
                self.problem = f"{agent.name} cannot propose: {error}"

    def take_agent(self, run: Path) -> None:
        """Let the agent of a run, or of a bundle, propose masks from now on.

        Raises:
            AlignSAMError: It cannot be loaded.
            OptionError: It needs a text, which nobody can give it here.
        """
        agent = AlignSAM.from_pretrained(run, trust_local_weights=True, device=self._device, batch_size=1)
        if agent.clip and not agent.config.text:
            raise OptionError(
                f"{run} is guided by a text, which differed by image in its training, and the page has none to give; "
                "take an agent that was trained on one category, or that no text guides."
            )
        if self.proposals:
            self.proposals.close()
        self.run = run
        self.outcomes.agent = run.name
        self.proposals = Proposals(agent, self.folder.photographs)
        self.proposals.make_in_background(self.unlabelled)

    def unlabelled(self) -> list[str]:
        """Return the photographs without a mask, in their order."""
        labelled = self.masks.stems()
        return [stem for stem in self.folder.photographs if stem not in labelled]

    def can_train(self) -> bool:
        """Return whether there are `FEWEST_MASKS` to learn from."""
        return len(list(islice(self.masks.learnable(), FEWEST_MASKS))) == FEWEST_MASKS

    def training_arguments(self) -> list[str]:
        """Return the arguments of a training that begins now.

        A table would be of few images, and how proposals are received tells more: of all masks one is held out.

        Raises:
            OptionError: There are too few masks.
        """
        held_out = next(filter(self._can_be_read, self.masks.learnable()), None)
        if held_out is None or not self.can_train():
            raise OptionError(f"Label {FEWEST_MASKS} photographs first; those with nothing to segment do not count.")
        return [*_BRIEF_EVALUATION, f"dataset.test=[{_pattern(held_out)}]", *self.training_options]

    def encoding(self, stem: str) -> Tensor:
        """Return SAM's encoding of a photograph, float32 (1, R, h, w).

        Raises:
            DataError: The photograph cannot be read.
        """
        return self.encode_ahead(stem).result()

    def encode_ahead(self, stem: str) -> Future[Tensor]:
        """Encode a photograph in the background, so that SAM can answer at once."""
        with self._encodings_lock:
            encoding = self._encodings.get(stem)
            if encoding is not None and encoding.done() and encoding.exception():
                del self._encodings[stem]  # what was wrong may have been put right
            if stem not in self._encodings:
                while len(self._encodings) >= _ENCODINGS:
                    del self._encodings[next(iter(self._encodings))]
                self._encodings[stem] = self._encoder.submit(lambda: self.sam.encode(self.pixels(stem)))
            return self._encodings[stem]

    def proposal(self, stem: str) -> np.ndarray | None:
        """Return the agent's mask, bool (H, W), of a photograph that has none, or whose mask came of such a proposal.

        Raises:
            DataError: The photograph cannot be read.
        """
        if self.proposals is None or (stem in self.masks.stems() and stem not in self.outcomes.of_agent()):
            return None
        return self.proposals.mask(stem, self.pixels(stem).shape[:2])

    def next_stem(self, present: str, taken: Collection[str] = ()) -> str | None:
        """Choose what to label next: where the agent is most in doubt, or else the next photograph without a mask.

        Args:
            present: The photograph that is shown.
            taken: Photographs that other windows show.

        Returns:
            None if all others have masks.
        """
        rest = set(self.unlabelled()).difference(taken, self.unreadable, [present])
        if self.proposals:
            doubts = {stem: doubt for stem, doubt in self.proposals.doubts().items() if stem in rest}
            if doubts:
                return max(doubts, key=lambda stem: doubts[stem])
        return next((stem for stem in self.others(present) if stem in rest), None)

    def others(self, present: str) -> list[str]:
        """Return all other photographs that can be read, in their order, from the one after the present one on."""
        order = list(self.folder.photographs)
        start = order.index(present) + 1 if present in order else 0
        return [stem for stem in order[start:] + order[:start] if stem != present and stem not in self.unreadable]

    def close(self) -> None:
        """End what goes on in the background. A training is interrupted, and may go on later."""
        self.training.close()
        if self.proposals:
            self.proposals.close()
        self._encoder.shutdown(cancel_futures=True)

    def _can_be_read(self, stem: str) -> bool:
        try:
            self.pixels(stem)
        except DataError:
            return False
        return True

    def _read(self, stem: str) -> np.ndarray:
        return read_image(self.folder.photographs[stem])


def _pattern(stem: str) -> str:
    """Return the pattern of this photograph alone, in quotes that Hydra takes off again."""
    escaped = glob.escape(stem).replace("$", "[$]")  # or OmegaConf would take ${…} for an interpolation
    return str(QuotedString(escaped, Quote.single).with_quotes())
