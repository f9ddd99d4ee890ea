"""Packages whose modules are needed, and whose ``__init__`` is not."""

from __future__ import annotations

import sys
from importlib.util import find_spec, module_from_spec
from threading import RLock
from typing import Any


def postpone_import(name: str) -> None:
    """Let modules of a package be imported without what its ``__init__`` imports.

    The ``__init__`` runs as soon as the package is asked for anything that is not there yet, so that whoever imports
    the package finds all of it. If it fails, it is tried again the next time. Nothing happens if the package has been
    imported already, or is not installed.

    Args:
        name: The package's.
    """
    if name in sys.modules:
        return
    spec = find_spec(name)
    if spec is None or spec.loader is None:
        return
    package, loader, lock = module_from_spec(spec), spec.loader, RLock()
    running = False

    def finish(attribute: str) -> Any:
        nonlocal running
        asked_by_python = attribute.startswith("__") and attribute != "__all__"  # the latter is of `import *`
        with lock:  # another thread waits until all is there
            if not asked_by_python and not running and "__getattr__" in vars(package):
                running = True
                try:
                    loader.exec_module(package)
                    del vars(package)["__getattr__"]
                finally:
                    running = False
            if attribute in vars(package):
                return vars(package)[attribute]
        raise AttributeError(f"module {name!r} has no attribute {attribute!r}")

    vars(package)["__getattr__"] = finish
    sys.modules[name] = package
