from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from alignsam_gym.data import Augmented, Sample
from alignsam_gym.data.samples import sample_groups
from alignsam_gym.errors import OptionError


class Marked:
    """Images whose red channel is 255 where the mask is, and 0 elsewhere."""

    name, branch = "marked", "explicit"

    def __init__(self, ids=("a", "b", "c"), void=False):
        self.ids, self.void = ids, void

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, index):
        mask = np.zeros((40, 60), bool)
        mask[10:30, 5 : 25 + 5 * index] = True
        image = np.repeat(mask[..., None] * np.uint8(255), 3, axis=2)
        return Sample(self.ids[index], image, mask, ~mask if self.void else None, text="mark")


def test_the_first_of_the_copies_are_the_samples_themselves():
    whole = Marked()
    more = Augmented(whole, 3, seed=0)
    assert (len(more), more.name, more.branch) == (9, "marked", "explicit")
    assert list(more.ids) == ["a", "b", "c", "a@1", "b@1", "c@1", "a@2", "b@2", "c@2"]
    assert [more[i].id for i in range(9)] == list(more.ids)
    for i in range(3):
        np.testing.assert_array_equal(more[i].image, whole[i].image)


def test_mask_and_void_are_altered_as_their_image_is():
    more = Augmented(Marked(void=True), 20, seed=1)
    changed = 0
    for i in range(3, len(more)):
        sample = more[i]
        assert sample.image.shape == (40, 60, 3)
        assert sample.mask.shape == (40, 60)
        assert sample.text == "mark"
        assert (sample.mask ^ sample.void).mean() > 0.97  # at edges both are interpolated by the nearest pixel
        bright = sample.image.mean(2) > 60
        assert (bright == sample.mask).mean() > 0.9
        changed += (sample.mask != more[i % 3].mask).mean() > 0.1
    assert changed > 30


def test_copies_differ_and_come_again_alike():
    more, again, other = (Augmented(Marked(), 3, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(more[4].image, again[4].image)
    assert (more[4].image != more[7].image).any()
    assert (more[4].image != other[4].image).any()


def test_copies_are_the_same_to_several_threads_and_leave_torchs_generator_alone():
    class AnySize(Marked):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            return replace(sample, image=sample.image[: 20 + 3 * index], mask=sample.mask[: 20 + 3 * index])

    more = Augmented(AnySize(), 30, seed=0)
    state = torch.get_rng_state()
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(more.__getitem__, range(len(more))))
    assert torch.equal(state, torch.get_rng_state())
    for i, sample in enumerate(together):
        np.testing.assert_array_equal(sample.image, more[i].image)
        np.testing.assert_array_equal(sample.mask, more[i].mask)


def test_copies_stay_in_their_samples_group():
    more = Augmented(Marked(ids=("x/1", "x/2", "y/1")), 2, seed=0)
    assert sample_groups(more) == ["x", "x", "y", "x", "x", "y"]
    assert sample_groups(Augmented(Marked(), 2, seed=0)) == ["a", "b", "c"] * 2


def test_less_than_one_copy_is_refused():
    with pytest.raises(OptionError, match="augment=0"):
        Augmented(Marked(), 0, seed=0)
