"""How an agent's proposals were received: the user sees by it when labelling more is no longer worth it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock

from alignsam_gym.data.mask_files import write_file


class OutcomeSummary(NamedTuple):
    """What became of an agent's proposals.

    Attributes:
        unchanged: How many masks were saved as they had been proposed.
        proposed: How many masks were saved that had been proposed.
        mean_iou: Of these proposals and the saved masks, in [0, 1]; None if there are none.
    """

    unchanged: int
    proposed: int
    mean_iou: float | None


class ProposalOutcomes:
    """The IoU of each proposal and the mask that was saved, by agent and photograph, in a file that programs share.

    Args:
        file: A JSON file, made when it is needed.

    Attributes:
        agent: Who proposes now; None while there is no agent.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.agent: str | None = None

    def record(self, agent: str, stem: str, iou: float | None) -> None:
        """Record what became of a proposal.

        Args:
            agent: Whose it was.
            stem: The photograph.
            iou: Of the proposal and the photograph's mask, in [0, 1]; None if the mask is taken away.

        Raises:
            DataError: The file cannot be written.
        """
        with FileLock(self._file.with_suffix(".lock")):
            outcomes = self._read()
            of_agent = outcomes.setdefault(agent, {})
            of_agent.pop(stem, None)
            if iou is not None:
                of_agent[stem] = iou
            write_file(self._file, json.dumps(outcomes, indent=1).encode())

    def of_agent(self) -> dict[str, float]:
        """Return the IoU of each photograph whose proposal by this agent has been accepted or corrected."""
        return {} if self.agent is None else self._read().get(self.agent, {})

    def summary(self) -> OutcomeSummary:
        """Summarise what became of this agent's proposals."""
        ious = list(self.of_agent().values())
        return OutcomeSummary(sum(iou == 1 for iou in ious), len(ious), sum(ious) / len(ious) if ious else None)

    def _read(self) -> dict[str, dict[str, float]]:
        try:
            found: dict[str, dict[str, float]] = json.loads(self._file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return found
