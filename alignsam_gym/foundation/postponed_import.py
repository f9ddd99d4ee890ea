"""Packages whose modules are needed, and whose ``__init__`` is not."""

from __future__ import annotations

import sys
from importlib.util import find_spec, module_from_spec
from typing import Any


def postpone_import(name: str) -> None:
    """Let modules of a package be imported without what its ``__init__`` imports.

    The ``__init__`` runs as soon as the package is asked for anything that is not there yet, so that whoever imports
    the package finds all of it. Nothing happens if it has been imported already, or is not installed.

    Args:
        name: The package's.
    """
    spec = find_spec(name)
    if name in sys.modules or spec is None or spec.loader is None:
        return
    package, loader = module_from_spec(spec), spec.loader

    def finish(attribute: str) -> Any:
        if attribute.startswith("__"):  # asked for by Python's own machinery
            raise AttributeError(f"module {name!r} has no attribute {attribute!r}")
        vars(package).pop("__getattr__", None)
        loader.exec_module(package)
        return getattr(package, attribute)

    vars(package)["__getattr__"] = finish
    sys.modules[name] = package
