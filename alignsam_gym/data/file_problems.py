"""What is wrong with the files of a data set that is being opened."""

from __future__ import annotations

import logging

from alignsam_gym.errors import DataError

log = logging.getLogger(__name__)

_SHOWN = 20


class FileProblems:
    """Collects problems, so that one error tells all of them.

    Args:
        skip: Whether what has a problem is left out instead, with a warning for each.

    Attributes:
        found: The problems of the error.
    """

    def __init__(self, skip: bool) -> None:
        self.skip = skip
        self.found: list[str] = []

    def add(self, problem: str) -> None:
        """Warn that something is left out, or keep the problem for `check`."""
        if self.skip:
            log.warning("Left out: %s", problem)
        else:
            self.found.append(problem)

    def check(self) -> None:
        """Raise `DataError` with a line for each of the first problems, if there are any."""
        if self.found:
            more = [f"… and {len(self.found) - _SHOWN} more"] if len(self.found) > _SHOWN else []
            raise DataError("\n".join([*self.found[:_SHOWN], *more]))
