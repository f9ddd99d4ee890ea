"""An agent's masks for photographs that have none, made in the background."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple

import numpy as np
from torch import Tensor

from alignsam_gym.agents.pretrained import AlignSAM
from alignsam_gym.envs.prompting_session import PromptingSession
from alignsam_gym.errors import DataError
from alignsam_gym.labelling.clicked_sam import clean_mask


class Proposal(NamedTuple):
    """An agent's answer on one photograph.

    Attributes:
        logits: float16 (4h, 4w), on the CPU.
        doubt: How much the SRM's map and SAM's mask disagree, in [0, 1] (`PromptingSession.disagreement`).
    """

    logits: Tensor
    doubt: float


class Proposals:
    """What an agent proposes, each made once.

    Args:
        agent: A trained one.
        files: Each photograph's file, by its name.
    """

    def __init__(self, agent: AlignSAM, files: dict[str, Path]) -> None:
        self.agent, self._files = agent, files
        self._made: dict[str, Proposal] = {}
        self._ended = Event()
        self._thread: Thread | None = None

    def doubts(self) -> dict[str, float]:
        """Return the doubt in each proposal that has been made."""
        return {stem: proposal.doubt for stem, proposal in self._made.copy().items()}

    def mask(self, stem: str, size: tuple[int, int]) -> np.ndarray:
        """Return the proposal for a photograph of that (H, W), bool, cleaned as SAM's answers; it is made if need be.

        Raises:
            DataError: The photograph cannot be read.
        """
        return clean_mask(self._get(stem, self.agent.session()).logits.float(), size)

    def make_in_background(self, stems: Callable[[], Iterable[str]]) -> None:
        """Make the proposals for these photographs, in a thread of its own that `close` ends."""

        def make() -> None:
            session = self.agent.session()
            for stem in stems():
                if self._ended.is_set():
                    return
                try:
                    self._get(stem, session)
                except DataError:
                    continue  # it is told when the photograph is opened

        self._thread = Thread(target=make, name="proposals", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End what goes on in the background, after the proposal that is being made."""
        self._ended.set()
        if self._thread:
            self._thread.join()

    def _get(self, stem: str, session: PromptingSession) -> Proposal:
        if stem not in self._made:
            session.set_image(self._files[stem])
            while session.step():
                pass
            logits = session.prediction().logits.half().cpu()
            self._made[stem] = Proposal(logits, session.disagreement())
        return self._made[stem]
