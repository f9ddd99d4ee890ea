"""matplotlib's `Figure`, for pictures that are only written to files.

It needs no window and no pyplot, so the backend that a notebook or a desktop has chosen does not matter and is not
changed.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

__all__ = ["Axes", "Figure"]


def _drop_unknown_backend() -> None:
    """Forget the backend in ``$MPLBACKEND`` if matplotlib does not know it, as it could not be imported otherwise.

    A notebook hands its own backend down to the commands in its cells, whose environment may lack that package.
    """
    backend = os.environ.get("MPLBACKEND")
    if backend is None or "matplotlib" in sys.modules:
        return
    del os.environ["MPLBACKEND"]
    import matplotlib

    with suppress(ValueError):
        matplotlib.rcParams["backend"] = backend
        os.environ["MPLBACKEND"] = backend


_drop_unknown_backend()

from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
