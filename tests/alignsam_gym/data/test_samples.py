from inspect import Parameter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignsam_gym.data import (
    DATASETS,
    Sample,
    Subset,
    all_but,
    dataset_parameters,
    draw_shots,
    drawn_scenes,
    load_dataset,
    preferred_branch,
)
from alignsam_gym.data.samples import assign_folds, groups_from_ids, sample_groups
from alignsam_gym.errors import DataError, OptionError


class Numbers:
    """A data set whose samples are their own positions; those at `broken` cannot be loaded."""

    name = "numbers"

    def __init__(self, count, broken=()):
        self.ids = [f"n{i}" for i in range(count)]
        self.broken = broken

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, index):
        if index in self.broken:
            raise DataError(f"{self.ids[index]} is torn")
        return index


def test_a_subset_keeps_order_ids_and_name():
    subset = Subset(Numbers(10), np.array([7, 2, 5]))
    assert len(subset) == 3
    assert [subset[i] for i in range(3)] == [7, 2, 5]
    assert list(subset.ids) == ["n7", "n2", "n5"]
    assert subset.name == "numbers"


def test_a_data_set_may_prefer_a_branch_and_its_parts_do_too():
    whole = Numbers(10)
    assert preferred_branch(whole) == preferred_branch(Subset(whole, [1])) == "implicit"
    whole.branch = "explicit"
    assert preferred_branch(whole) == preferred_branch(draw_shots(whole, 2, seed=0)) == "explicit"


def test_shots_are_distinct_and_repeat_with_the_seed():
    first = draw_shots(Numbers(100), 10, seed=3)
    assert len(set(first.ids)) == len(first) == 10
    assert list(first.ids) == list(draw_shots(Numbers(100), 10, seed=3).ids)
    assert list(first.ids) != list(draw_shots(Numbers(100), 10, seed=4).ids)


@given(count=st.integers(2, 40), shots=st.integers(1, 39), seed=st.integers(0, 99))
def test_labelled_and_development_images_share_the_training_split(count, shots, seed):
    whole = Numbers(count)
    labelled = draw_shots(whole, shots, seed)
    if shots >= count:
        with pytest.raises(DataError, match=r"lower env\.shots"):
            all_but(whole, labelled)
        return
    development = all_but(whole, labelled)
    assert sorted([*labelled.ids, *development.ids]) == sorted(whole.ids)
    assert [f"n{development[place]}" for place in range(len(development))] == list(development.ids)


@pytest.mark.parametrize("per", ["dataset", "category"])
def test_where_nothing_is_broken_skipping_draws_the_same_shots(per):
    whole = Numbers(60)
    whole.categories = ["a", "b", "c"] * 20
    for seed in range(5):
        assert list(draw_shots(whole, 4, seed, per, skip=True).ids) == list(draw_shots(whole, 4, seed, per).ids)


def test_shots_that_cannot_be_loaded_are_replaced_by_others():
    drawn = draw_shots(Numbers(20), 5, seed=0)
    broken = drawn.indices[:3]
    found = draw_shots(Numbers(20, broken), 5, seed=0, skip=True)
    assert len(found) == len(set(found.ids)) == 5
    assert set(found.indices) >= set(drawn.indices[3:])
    assert not set(found.indices) & set(broken)


def test_every_sample_can_be_a_shot():
    drawn = {id for seed in range(60) for id in draw_shots(Numbers(10), 3, seed).ids}
    assert drawn == set(Numbers(10).ids)


@pytest.mark.parametrize("shots", [5, 50])
def test_a_small_data_set_is_taken_whole(shots):
    assert list(draw_shots(Numbers(5), shots, seed=0).ids) == Numbers(5).ids


def test_the_global_generators_have_no_part_in_the_draw():
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    draw_shots(Numbers(100), 10, seed=3)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_data_sets_are_found_by_name_in_any_case():
    assert load_dataset("Shapes-Shadow", "test").name == "shapes-shadow"


def test_an_unknown_data_set_is_named_with_the_choices():
    with pytest.raises(OptionError, match=r"dataset='imagenet' is unknown; choose one of .*shapes.*folder") as caught:
        load_dataset("imagenet", "train")
    assert all(name in str(caught.value) for name in DATASETS)


def test_an_unknown_option_is_named_with_those_that_exist():
    with pytest.raises(OptionError, match=r"'shapes' got an unexpected keyword argument 'colour'; it takes none\.$"):
        load_dataset("shapes", "train", colour="red")
    with pytest.raises(OptionError, match=r"'shapes-named' got .* 'colour'; it takes category\.$"):
        load_dataset("shapes-named", "train", colour="red")
    message = r"'folder' got .* 'rot'; it takes .*invert.*root.*threshold, void\. Did you mean root\?$"
    with pytest.raises(OptionError, match=message):
        load_dataset("folder", "train", rot=".")


def test_a_misspelt_data_set_is_told_its_nearest_name():
    with pytest.raises(OptionError, match=r"dataset='voc' is unknown; .* Did you mean VOC2012\?$"):
        load_dataset("voc", "train")


@pytest.mark.parametrize("name", DATASETS)
def test_every_option_of_a_data_set_is_typed_documented_and_has_a_default(name):
    constructor = DATASETS[name]
    documentation = getattr(constructor, "func", constructor).__doc__
    for option, parameter in dataset_parameters(name).items():
        assert parameter.annotation is not Parameter.empty
        assert parameter.default is not Parameter.empty
        assert f"\n        {option}: " in documentation
    assert not {"split", "on_error"} & set(dataset_parameters(name))


def test_options_of_the_published_data_sets_default_to_what_their_layouts_say():
    defaults = {name: parameter.default for name, parameter in dataset_parameters("cuhk").items()}
    assert defaults == {"root": None, "threshold": 127, "invert": False, "text": "defocus background"}


@pytest.fixture
def few_scenes(monkeypatch):
    """All are drawn where their kinds are asked for."""
    monkeypatch.setitem(drawn_scenes.SPLIT_SIZES, "test", 5)


@pytest.mark.usefixtures("few_scenes")
@pytest.mark.parametrize("name", [name for name in DATASETS if name.startswith("shapes")])
def test_every_embedded_data_set_follows_the_protocol(name):
    data = load_dataset(name, "test")
    sample = data[0]
    assert data.name == name
    assert len(data.ids) == len(data) == len(set(data.ids))
    assert sample.id == data.ids[0]
    assert sample.image.dtype == np.uint8
    assert sample.image.shape == (*sample.mask.shape, 3)
    assert sample.mask.dtype == bool
    assert sample.text


def test_frames_of_one_video_are_one_group_and_lone_images_their_own():
    assert groups_from_ids(["dog/1", "dog/2", "cat/1"]) == ["dog", "dog", "cat"]
    assert groups_from_ids(["1", "2"]) == ["1", "2"]
    assert groups_from_ids(["all/1", "all/2"]) == ["all/1", "all/2"]


def test_some_of_a_data_sets_samples_stay_in_their_groups(toy_dataset):
    toy_dataset.groups = ["x", "x", "y", "y", "y"]
    assert sample_groups(Subset(toy_dataset, [1, 3, 4])) == ["x", "y", "y"]
    assert sample_groups(Subset(toy_dataset, [3, 4])) == ["toy3", "toy4"]


def test_folds_are_of_whole_groups_in_turn():
    whole = Numbers(7)
    whole.groups = list("aabbbcd")
    assert assign_folds(whole, 2) == [0, 0, 1, 1, 1, 0, 1]
    assert assign_folds(whole, 4) == [0, 0, 1, 1, 1, 2, 3]
    with pytest.raises(OptionError, match=r"srm\.folds=5 is more than the 4"):
        assign_folds(whole, 5)


@pytest.mark.usefixtures("few_scenes")
def test_the_kinds_of_one_scene_are_one_group():
    data = load_dataset("shapes-named", "test")
    scenes = [name.rpartition("_")[0] for name in data.ids]
    assert len(set(scenes)) < len(scenes)
    assert len(set(zip(scenes, sample_groups(data), strict=True))) == len(set(sample_groups(data))) == len(set(scenes))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": np.zeros((4, 5), np.uint8)}, r"image of a is uint8 \(4, 5\); it must be uint8 \(4, 5, 3\)"),
        ({"image": np.zeros((4, 5, 3))}, r"image of a is float64"),
        ({"mask": np.zeros((4, 5), np.uint8)}, r"mask of a is uint8 \(4, 5\); it must be bool \(4, 5\)"),
        ({"mask": np.zeros((5, 4), bool)}, r"mask of a is bool \(5, 4\)"),
        ({"void": np.zeros((4, 5, 1), bool)}, r"void of a is bool \(4, 5, 1\)"),
    ],
)
def test_a_sample_of_other_arrays_is_refused(change, message):
    arrays = {"image": np.zeros((4, 5, 3), np.uint8), "mask": np.zeros((4, 5), bool)}
    with pytest.raises(DataError, match=message):
        Sample("a", **(arrays | change))


@pytest.mark.parametrize(
    ("count", "says"), [(1, "more than the 1 image, or group of images,"), (2, "more than the 2 images or groups")]
)
def test_too_few_images_for_the_folds_are_told(toy_dataset, count, says):
    few = Subset(toy_dataset, range(count))
    with pytest.raises(OptionError, match=rf"{says} .*: label 3 or more; srm\.folds=1 does with one"):
        assign_folds(few, 3)
    assert assign_folds(few, 1) == [0] * count
