"""SAMs of the Hugging Face Hub, and folders in its format: ``sam=hf:user/name`` and ``sam=hf:folder``."""

from __future__ import annotations

import re
from pathlib import Path

from segment_anything.modeling import Sam

from alignsam_gym.errors import WeightsError, first_line
from alignsam_gym.foundation.sam.official_checkpoints import remembered_digest
from alignsam_gym.foundation.sam.transformers_format import load_transformers_sam, read_sam_config

HF = "hf:"
"""How the name of a SAM begins that is a folder in the format of ``transformers`` or a repository of the Hub."""

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"

_REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)


def load_hf_sam(name: str) -> tuple[Sam, str]:
    """Load a SAM, SAM-HQ or SAM 2.1 in the format of ``transformers``.

    Of a repository, the files in the Hub's cache are used. What is missing there is downloaded: first the
    configuration, so that nothing else of another model is. Only tensors are read, never pickle.

    Args:
        name: ``hf:`` and a folder or, if there is none of that name, a repository ``user/name``.

    Returns:
        The model, float32, on the CPU, and its fingerprint.

    Raises:
        WeightsError: A file is missing and cannot be downloaded, or is not what it should be.
    """
    config_file = find_hf_file(name, CONFIG_FILE)
    read_sam_config(config_file)
    weights_file = find_hf_file(name, WEIGHTS_FILE)
    sam = load_transformers_sam(config_file, weights_file)
    return sam, f"{remembered_digest(weights_file)}-{remembered_digest(config_file)}"


def is_repository(name: str) -> bool:
    """Tell whether the name of a SAM means a repository of the Hub, and so no file of this machine."""
    return name.startswith(HF) and bool(_REPOSITORY.fullmatch(_source(name))) and not _folder(name).is_dir()


def is_cached(name: str) -> bool:
    """Tell whether the Hub's cache has a repository's files, so that nothing is downloaded."""
    return all(_cached_file(_source(name), file) for file in (CONFIG_FILE, WEIGHTS_FILE))


def find_hf_file(name: str, file: str) -> Path:
    """Find a file of a folder or a repository. What is not in the Hub's cache is downloaded.

    Args:
        name: As for `load_hf_sam`.
        file: `CONFIG_FILE` or `WEIGHTS_FILE`.

    Raises:
        WeightsError: It is not there; the message says what to do.
    """
    source = _source(name)
    if is_repository(name):
        return _cached_file(source, file) or _download(source, file)
    folder = _folder(name)
    if not folder.is_dir():
        raise WeightsError(f"sam={name!r}: there is no folder {folder.absolute()}, and no repository has such a name.")
    if not (folder / file).is_file():
        raise _lacks(name, file)
    return folder / file


def _source(name: str) -> str:
    return name.removeprefix(HF)


def _folder(name: str) -> Path:
    return Path(_source(name)).expanduser()


def _cached_file(repository: str, file: str) -> Path | None:
    from huggingface_hub import errors, try_to_load_from_cache

    try:
        found = try_to_load_from_cache(repository, file)
    except errors.HFValidationError:  # no repository can be called so
        return None
    return Path(found) if isinstance(found, str) else None


def _download(repository: str, file: str) -> Path:
    from huggingface_hub import errors, hf_hub_download

    name, page = f"{HF}{repository}", f"https://huggingface.co/{repository}"
    try:
        return Path(hf_hub_download(repository, file))
    except errors.GatedRepoError as error:
        raise WeightsError(
            f"sam={name!r}: who wants these weights must accept their licence. Do so at {page}, then log in here: hf "
            "auth login, or $HF_TOKEN."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise WeightsError(
            f"sam={name!r}: there is no folder {repository}, and the Hub has no such repository, or a private one. "
            f"Check the name at {page}; if it is private, log in here: hf auth login, or $HF_TOKEN."
        ) from error
    except Exception as error:  # its own, or those of the HTTP library that its version has
        remote = not isinstance(error, errors.LocalEntryNotFoundError)
        if isinstance(error, errors.EntryNotFoundError) and remote:
            raise _lacks(name, file) from error
        raise WeightsError(
            f"sam={name!r}: {file} is not in the Hub's cache and could not be downloaded from {page} "
            f"({first_line(error)}). Where there is a network, hf download {repository} --local-dir FOLDER; then give "
            f"{HF}FOLDER."
        ) from error


def _lacks(name: str, file: str) -> WeightsError:
    message = f"sam={name!r}: there is no {file}, which a model that transformers has saved must have."
    if file == WEIGHTS_FILE:
        message += (
            " Pickled weights (pytorch_model.bin) are not read: load them by transformers, save_pretrained(FOLDER), "
            f"and give {HF}FOLDER."
        )
    return WeightsError(message)
