"""More images from few: altered copies of labelled samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from alignsam_gym.data.samples import Dataset, Sample, preferred_branch, sample_groups
from alignsam_gym.errors import check_count


class Augmented:
    """Every sample as it is, then `copies` − 1 altered copies of each.

    A copy is a random part of the image, at least two fifths of its area, perhaps mirrored, with other brightness,
    contrast, saturation and hue; it depends on `seed`, the sample's place and the copy's number only. [ours: the paper
    does not alter its 50 images; env.augment]

    Copy k of the sample `a` is called ``a@k``. `groups` keeps it beside the original in any split. Raises OptionError.
    """

    def __init__(self, whole: Dataset, copies: int, seed: int) -> None:
        check_count("augment", copies, "it counts the originals, so it is at least 1")
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
        from torchvision.transforms.v2 import functional as F  # takes seconds to import, and few need it

        generator = np.random.default_rng(entropy)  # not torch's own, which all threads share
        masks = torch.from_numpy(np.stack([sample.mask] if sample.void is None else [sample.mask, sample.void]))
        size = list(sample.mask.shape)
        part = _part(generator, *size)
        image = F.resized_crop(torch.tensor(sample.image).permute(2, 0, 1), *part, size)
        altered = F.resized_crop(masks, *part, size, interpolation=F.InterpolationMode.NEAREST)
        if generator.random() < 0.5:
            image, altered = F.horizontal_flip(image), F.horizontal_flip(altered)
        for adjust in (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation):
            image = adjust(image, generator.uniform(0.7, 1.3))
        image = F.adjust_hue(image, generator.uniform(-0.05, 0.05))
        mask, void = (*altered.numpy(), None)[:2]
        return Sample(name, np.ascontiguousarray(image.permute(1, 2, 0).numpy()), mask, void, sample.text)


def _part(generator: np.random.Generator, height: int, width: int) -> tuple[int, int, int, int]:
    """Top, left, height and width of at least two fifths of an image, up to a third longer or less long than it."""
    share, longer = generator.uniform(0.4, 1.0), np.exp(generator.uniform(-1, 1) * np.log(4 / 3))
    h = round(height * min(1.0, np.sqrt(share / longer)))
    w = round(width * min(1.0, np.sqrt(share * longer)))
    return int(generator.integers(height - h + 1)), int(generator.integers(width - w + 1)), h, w
