"""Bundles: what a trained agent needs to act, for others, as a folder or as one file, without pickle.

A bundle holds the policy and the SRM as safetensors, and a ``config.yaml`` of what prediction depends on. It names
neither paths nor the machine that it was trained on. As one file (``.alignsam``) it is an uncompressed zip of these.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from alignsam_gym.agents.agent_config import AgentConfig, portable, read_agent_config
from alignsam_gym.agents.agent_weights import POLICY, SRM_WEIGHTS, how_to_go_on
from alignsam_gym.agents.trained_run import CONFIG
from alignsam_gym.errors import OptionError, WeightsError

SUFFIX = ".alignsam"
MEMBERS = (CONFIG, POLICY, SRM_WEIGHTS)


def export(source: Path, target: Path) -> None:
    """Write a run as a bundle. Files of weights that it names are left out, and named by their SHA-256.

    Args:
        source: Folder of a run, or another bundle.
        target: One file if it ends in ``.alignsam``, else a folder, which has no suffix unless it is there.

    Raises:
        OptionError: `target` has the suffix of another kind of file.
        WeightsError: The run is incomplete, or `target` cannot be written or would replace another run.
    """
    source, target = source.expanduser(), target.expanduser()
    if source.is_dir() and target.is_dir() and source.samefile(target):
        raise WeightsError(f"{target} is the run itself, whose configuration a bundle's would replace; name another.")
    if target.suffix not in ("", SUFFIX) and not target.is_dir():
        raise OptionError(_no_bundle(target))
    with opened(source) as run:
        config = read_agent_config(run)
        named = {kind: portable(kind, str(config.env[kind])) for kind in ("sam", "clip") if kind in config.env}
        for name in (POLICY, SRM_WEIGHTS):
            if not (run / name).is_file():
                raise WeightsError(f"{run} has no {name}; has its training finished? If not, {how_to_go_on(run)}.")
        try:
            _write(run, replace(config, env=config.env | named), target)
        except OSError as error:
            raise WeightsError(f"{target} cannot be written ({error.strerror}).") from error


def _no_bundle(target: Path) -> str:
    """What to tell who wants a bundle to be such a file."""
    folder = target.with_suffix("")
    match target.suffix:
        case ".onnx":
            return f"{target}: ONNX graphs are written into a folder, with --onnx: alignsam export RUN {folder} --onnx"
        case ".zip":
            return f"{target}: a zip is Stable-Baselines3's, with --sb3; a bundle is called {folder}{SUFFIX}."
    return f"{target}: a bundle is a file {folder}{SUFFIX}, or a folder whose name has no suffix, {folder}."


def _write(run: Path, config: AgentConfig, target: Path) -> None:
    _check_free(target)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) if target.suffix == SUFFIX else target
        folder.mkdir(parents=True, exist_ok=True)
        config.write(folder)
        for name in (POLICY, SRM_WEIGHTS):
            shutil.copyfile(run / name, folder / name)
        if target.suffix == SUFFIX:
            _pack(folder, target)


def _check_free(target: Path) -> None:
    """Raise WeightsError for the folder of another run, whose configuration and weights a bundle would replace."""
    if not (target / CONFIG).is_file():
        return
    others = sorted(file.name for file in target.iterdir() if file.name not in MEMBERS)
    if others:
        raise WeightsError(
            f"{target} seems to be another run, which the bundle would replace: beside {CONFIG} it has "
            f"{', '.join(others[:3])}. Name another folder."
        )


def _pack(folder: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    try:
        with zipfile.ZipFile(partial, "w") as archive:
            for name in MEMBERS:
                archive.writestr(zipfile.ZipInfo(name), (folder / name).read_bytes())  # without times: equal if equal
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """Give the folder of a bundle or run. The members of a single file lie in it for as long as the context.

    Raises:
        WeightsError: There is no such bundle, or it is damaged or refused.
    """
    path = path.expanduser()
    if path.is_dir():
        yield path
        return
    if not path.exists():
        raise WeightsError(f"There is no bundle or run {path}.")
    with tempfile.TemporaryDirectory() as place:
        _unpack(path, Path(place))
        yield Path(place)


def _unpack(file: Path, folder: Path) -> None:
    """Unpack members of the known names alone, and uncompressed ones alone, which are no larger than the file."""
    try:
        with zipfile.ZipFile(file) as archive:
            found = archive.infolist()
            if sorted(member.filename for member in found) != sorted(MEMBERS):
                raise WeightsError(f"{file} is no bundle: it must hold {', '.join(MEMBERS)}, and nothing else.")
            if any(member.compress_type != zipfile.ZIP_STORED for member in found):
                raise WeightsError(f"{file} is refused: the files in a bundle are not compressed.")
            for name in MEMBERS:
                (folder / name).write_bytes(archive.read(name))
    except WeightsError:
        raise
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise WeightsError(f"{file} is no bundle, or is torn ({error}); export it or fetch it again.") from error
    except OSError as error:
        raise WeightsError(f"{file} cannot be read ({error.strerror}).") from error
