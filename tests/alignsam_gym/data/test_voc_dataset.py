import numpy as np
import pytest
from PIL import Image

from alignsam_gym.data import draw_shots, load_dataset
from alignsam_gym.data.samples import sample_groups
from alignsam_gym.data.voc_dataset import CATEGORIES
from alignsam_gym.errors import DataError, OptionError
from tests.alignsam_gym.data.trees import H, W, write_voc

CAT, DOG, TABLE = (CATEGORIES.index(name) + 1 for name in ("cat", "dog", "diningtable"))


def classes(*bands):
    """Horizontal bands of equal height."""
    return np.repeat(np.array(bands), H // len(bands))[:, None].repeat(W, 1)


@pytest.fixture
def root(tmp_path):
    write_voc(
        tmp_path,
        {
            "train": {"2007_a": classes(0, CAT, 255, DOG), "2007_b": classes(CAT, 0), "2007_c": classes(0, TABLE)},
            "val": {"2008_a": classes(DOG, 0)},
        },
    )
    return tmp_path


def test_each_category_in_each_image_is_a_sample(root):
    train, test = (load_dataset("voc2012", split, root=root) for split in ("train", "test"))
    assert list(train.ids) == ["2007_a_cat", "2007_a_dog", "2007_b_cat", "2007_c_diningtable"]
    assert list(test.ids) == ["2008_a_dog"]
    assert train.branch == "explicit"
    assert sample_groups(train) == ["2007_a", "2007_a", "2007_b", "2007_c"]


def test_a_sample_holds_its_category_the_void_and_the_categorys_name(root):
    sample = load_dataset("VOC2012", "train", root=root)[1]
    np.testing.assert_array_equal(sample.mask, classes(0, 0, 0, 1).astype(bool))
    np.testing.assert_array_equal(sample.void, classes(0, 0, 1, 0).astype(bool))
    assert sample.text == "dog"
    assert load_dataset("VOC2012", "train", root=root)[3].text == "dining table"


def test_categories_can_be_chosen(root):
    for dog in (["dog"], "dog"):
        assert list(load_dataset("VOC2012", "train", root=root, categories=dog).ids) == ["2007_a_dog"]
    assert len(load_dataset("VOC2012", "train", root=root, categories="all")) == 4
    with pytest.raises(OptionError, match="categories='unicorn' is unknown; choose one of aeroplane, "):
        load_dataset("VOC2012", "train", root=root, categories=["unicorn"])
    with pytest.raises(DataError, match=r"train split .* shows sofa"):
        load_dataset("VOC2012", "train", root=root, categories=["sofa"])


def test_shots_may_be_drawn_of_each_category(root):
    drawn = draw_shots(load_dataset("VOC2012", "train", root=root), 1, seed=0, per="category")
    assert [id.rpartition("_")[2] for id in drawn.ids].count("cat") == 1
    assert len(drawn) == 3


def test_an_unknown_class_index_is_reported(root):
    write_voc(root, {"val": {"2008_b": classes(42, 0)}})
    with pytest.raises(DataError, match=r"2008_b\.png holds class 42; VOC has 0 to 20, and 255"):
        load_dataset("VOC2012", "test", root=root)


def test_a_mask_of_colours_is_reported_or_left_out(root):
    file = root / "VOCdevkit/VOC2012/SegmentationClass/2007_b.png"
    Image.open(file).convert("RGB").save(file)
    with pytest.raises(DataError, match=r"2007_b\.png holds colours \(RGB\)"):
        load_dataset("VOC2012", "train", root=root)
    kept = load_dataset("VOC2012", "train", root=root, on_error="skip")
    assert list(kept.ids) == ["2007_a_cat", "2007_a_dog", "2007_c_diningtable"]
