"""More images from few: altered copies of labelled samples."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from alignsam_gym.data.samples import Dataset, Sample, preferred_branch, sample_groups
from alignsam_gym.errors import OptionError


class Augmented:
    """Every sample as it is, then `copies` − 1 altered copies of each.

    A copy is a random part of the image, at least two fifths of its area, perhaps mirrored, with other brightness,
    contrast, saturation and hue; it depends on `seed`, the sample's place and the copy's number only. [ours: the paper
    does not alter its 50 images; env.augment]

    Copy k of the sample `a` is called ``a@k``. `groups` keeps it beside the original in any split. Raises OptionError.
    """

    def __init__(self, whole: Dataset, copies: int, seed: int) -> None:
        if copies < 1:
            raise OptionError(f"augment={copies}: it counts the originals, so it is at least 1.")
        self.whole, self.copies, self.seed = whole, copies, seed
        self.name = whole.name
        self.branch = preferred_branch(whole)
        self.ids: Sequence[str] = [*whole.ids, *(f"{name}@{copy}" for copy in range(1, copies) for name in whole.ids)]
        self.groups: Sequence[str] = sample_groups(whole) * copies

    def __len__(self) -> int:
        return len(self.whole) * self.copies

    def __getitem__(self, index: int) -> Sample:
        copy, place = divmod(index, len(self.whole))
        sample = self.whole[place]
        return self._altered(sample, self.ids[index], [self.seed, place, copy]) if copy else sample

    def _altered(self, sample: Sample, name: str, entropy: list[int]) -> Sample:
        from torchvision.tv_tensors import Image, Mask  # takes seconds to import, and few need it

        masks = [sample.mask] if sample.void is None else [sample.mask, sample.void]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(np.random.default_rng(entropy).integers(2**62)))
            image, altered = self._transform(
                Image(torch.tensor(sample.image).permute(2, 0, 1)), Mask(torch.from_numpy(np.stack(masks)))
            )
        mask, void = (*altered.numpy().astype(bool), None)[:2]
        return Sample(name, np.ascontiguousarray(image.permute(1, 2, 0).numpy()), mask, void, sample.text)

    @cached_property
    def _transform(self) -> Any:
        from torchvision.transforms import v2

        class PartAtItsOwnSize(v2.RandomResizedCrop):
            """A part, enlarged to the size of the whole, whatever that is."""

            def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
                self.size = v2.functional.get_size(flat_inputs[0])
                return super().make_params(flat_inputs)

        return v2.Compose(
            [
                PartAtItsOwnSize(1, scale=(0.4, 1.0)),
                v2.RandomHorizontalFlip(),
                v2.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.05),
            ]
        )
