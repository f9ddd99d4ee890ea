"""More images from few: altered copies of labelled samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from alignsam_gym.data.samples import Dataset, Sample, preferred_branch, sample_groups
from alignsam_gym.errors import check_count


class Augmented:
    """Every sample of a data set as it is, then altered copies of each.

    A copy is a random part of the image, at least two fifths of its area, which may be mirrored, with other brightness,
    contrast, saturation and hue. It depends on the seed, the sample's index and the copy's number only. [ours: the
    paper does not alter its 50 images; env.augment]

    Copy k of the sample ``a`` has the id ``a@k``, and is in the group of its original.

    Args:
        dataset: The labelled images.
        copies: How often each image appears, the original included.
        seed: Seed of the alterations.

    Raises:
        OptionError: If `copies` is less than 1.
    """

    def __init__(self, dataset: Dataset, copies: int, seed: int) -> None:
        check_count("augment", copies, "it counts the originals, so it is at least 1")
        self.dataset, self.copies, self.seed = dataset, copies, seed
        self.name = dataset.name
        self.branch = preferred_branch(dataset)
        copy_ids = [f"{name}@{copy}" for copy in range(1, copies) for name in dataset.ids]
        self.ids: Sequence[str] = [*dataset.ids, *copy_ids]
        self.groups: Sequence[str] = sample_groups(dataset) * copies

    def __len__(self) -> int:
        return len(self.dataset) * self.copies

    def __getitem__(self, index: int) -> Sample:
        copy, original = divmod(index, len(self.dataset))
        sample = self.dataset[original]
        if copy == 0:
            return sample
        # Not torch's own generator, which all threads share.
        return _alter(sample, self.ids[index], np.random.default_rng([self.seed, original, copy]))


def _alter(sample: Sample, name: str, generator: np.random.Generator) -> Sample:
    from torchvision.transforms.v2 import functional as F  # takes seconds to import, and few need it

    height, width = sample.mask.shape
    crop = _draw_crop(generator, height, width)
    image = F.resized_crop(torch.tensor(sample.image).permute(2, 0, 1), *crop, [height, width])
    masks = torch.from_numpy(np.stack([sample.mask] if sample.void is None else [sample.mask, sample.void]))
    masks = F.resized_crop(masks, *crop, [height, width], interpolation=F.InterpolationMode.NEAREST)
    if generator.random() < 0.5:
        image, masks = F.horizontal_flip(image), F.horizontal_flip(masks)
    for adjust in (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation):
        image = adjust(image, generator.uniform(0.7, 1.3))
    image = F.adjust_hue(image, generator.uniform(-0.05, 0.05))
    return Sample(
        id=name,
        image=np.ascontiguousarray(image.permute(1, 2, 0).numpy()),
        mask=masks[0].numpy(),
        void=None if sample.void is None else masks[1].numpy(),
        text=sample.text,
    )


def _draw_crop(generator: np.random.Generator, height: int, width: int) -> tuple[int, int, int, int]:
    """Return top, left, height and width of a part of an image.

    It is at least two fifths of the image's area. Its aspect ratio is the image's, times 3/4 to 4/3.
    """
    area, stretch = generator.uniform(0.4, 1.0), np.exp(generator.uniform(-1, 1) * np.log(4 / 3))
    h = round(height * min(1.0, np.sqrt(area / stretch)))
    w = round(width * min(1.0, np.sqrt(area * stretch)))
    return int(generator.integers(height - h + 1)), int(generator.integers(width - w + 1)), h, w
