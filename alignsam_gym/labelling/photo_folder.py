"""A folder of photographs to label, and the places of what comes of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from alignsam_gym.data.file_problems import FileProblems
from alignsam_gym.data.paired_files import files_by_stem
from alignsam_gym.data.user_files import split_folders
from alignsam_gym.errors import DataError, OptionError

_IMAGES, _MASKS = "images", "masks"
STATE = ".alignsam"
"""The hidden folder, beside the photographs, of what the page keeps: agents, and how their proposals were received."""


@dataclass(frozen=True)
class PhotoFolder:
    """Photographs in ``images/``, with masks in ``masks/`` beside it, or photographs that lie flat in a folder.

    Of a flat folder ``photos`` the masks are in ``photos-masks`` beside it, as among the photographs they would be
    taken for photographs.

    Attributes:
        root: What `dataset.root` must be.
        images: The folder of photographs, searched with its subfolders.
        masks: The folder of masks, which need not exist.
        photographs: Each photograph's file, by its path below `images` without suffix, in the order of the paths.
    """

    root: Path
    images: Path
    masks: Path
    photographs: dict[str, Path]

    @classmethod
    def find(cls, folder: Path) -> PhotoFolder:
        """Find the photographs in a folder, which may be the one that holds ``images/``, or that one.

        Raises:
            OptionError: The folder is split into ``train/`` and ``test/``.
            DataError: There is no such folder, no photograph in it, or two of one name.
        """
        folder = folder.expanduser().resolve()
        if not folder.is_dir():
            raise DataError(f"There is no folder {folder}.")
        if splits := split_folders(folder, _IMAGES):
            train, test = splits.values()
            raise OptionError(f"{folder} holds {train.name}/ and {test.name}/; label {train}, then {test}.")
        if (folder / _IMAGES).is_dir():
            folder = folder / _IMAGES
        flat = folder.name != _IMAGES
        masks = folder.with_name(f"{folder.name}-{_MASKS}") if flat else folder.parent / _MASKS
        problems = FileProblems(skip=False)
        photographs = files_by_stem(folder, problems)
        problems.check()
        return cls(folder.parent, folder, masks, photographs)

    @property
    def state(self) -> Path:
        """The hidden folder of what the page keeps."""
        return (self.images if self._is_flat else self.root) / STATE

    def beside(self, name: str) -> Path:
        """Where a result goes: ``photos/<name>``, beside ``images/``; or ``photos-<name>``, beside a flat folder."""
        return self.root / (f"{self.images.name}-{name}" if self._is_flat else name)

    @property
    def dataset_options(self) -> list[str]:
        """The keys of `alignsam train` that read the photographs that have masks.

        Photographs without a mask, and those with nothing to segment, are left out with a warning.
        """
        places = [f"dataset.images={self.images.name}", f"dataset.masks={self.masks.name}"] if self._is_flat else []
        return ["dataset=folder", f"dataset.root={self.root}", *places, "env.on_error=skip"]

    @property
    def _is_flat(self) -> bool:
        return self.images.name != _IMAGES
