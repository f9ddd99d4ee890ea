"""What people's folders look like: EXIF, folders that are kinds, suffixed masks, names in two Unicode forms."""

import logging
import unicodedata

import numpy as np
import pytest
from PIL import Image

from alignsam_gym.data.folder_dataset import FolderDataset
from alignsam_gym.errors import DataError, OptionError
from tests.alignsam_gym.data.trees import H, W, mask, picture, save


def write(root, stem, seed=0, mask_stem=None, image_suffix=".png", mask_suffix=".png"):
    save(picture(seed), root / "images" / f"{stem}{image_suffix}")
    save(mask(seed).astype(np.uint8) * 255, root / "masks" / f"{mask_stem or stem}{mask_suffix}")


def both(root, **options):
    return [*FolderDataset("train", root, **options).ids, *FolderDataset("test", root, **options).ids]


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


# What a mask or image may hold


LABELS = np.zeros((H, W), np.uint8)
LABELS[3:9, 4:12], LABELS[10:20, 15:30] = 1, 2


@pytest.mark.parametrize(
    "content",
    [
        np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0]], np.uint8)[LABELS],
        LABELS * np.uint8(85),
        np.array([[255, 255, 255], [255, 0, 0]], np.uint8)[LABELS.clip(max=1)],
        np.dstack([picture(), LABELS.clip(max=1) * np.uint8(255)]),
    ],
    ids=["label map as colours", "three greys", "red on white", "photograph with alpha"],
)
def test_a_mask_that_can_mean_several_things_is_told(content, tmp_path):
    write(tmp_path, "a")
    write(tmp_path, "b")
    save(content, tmp_path / "masks" / "a.png")
    with pytest.raises(DataError, match=r"a\.png does not say what is foreground"):
        FolderDataset("test", tmp_path, test=["a"])[0]


def test_a_deep_image_keeps_its_grey_levels(tmp_path):
    write(tmp_path, "a")
    write(tmp_path, "b")
    save(np.linspace(800, 1300, H * W).reshape(H, W).astype(np.uint16), tmp_path / "images" / "a.png")
    sample = FolderDataset("test", tmp_path, test=["a"])[0]
    assert len(np.unique(sample.image)) == 256


# EXIF


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("side", [20, 31])
def test_a_mask_without_orientation_follows_its_image(orientation, side, tmp_path, caplog):
    """The object is bright in the image, so that image and mask can be compared."""
    found = np.zeros((20, side), bool)
    found[2:9, 3:16] = True
    write(tmp_path, "b")
    for kind, tags in (("images", {"exif": exif(orientation)}), ("masks", {})):
        Image.fromarray(found.astype(np.uint8) * 255).save(tmp_path / kind / "a.png", **tags)
    with caplog.at_level(logging.WARNING):
        sample = FolderDataset("test", tmp_path, test=["a"])[0]
    np.testing.assert_array_equal(sample.mask, sample.image[..., 0] > 127)
    assert "1 masks, such as" in caplog.text
    assert "turned as their images' EXIF orientation" in caplog.text


def test_a_mask_that_says_its_orientation_is_read_by_it(tmp_path):
    found = np.zeros((20, 20), bool)
    found[2:9, 3:16] = True
    write(tmp_path, "b")
    Image.fromarray(found.astype(np.uint8) * 255).save(tmp_path / "images" / "a.png", exif=exif(3))
    Image.fromarray(found[::-1, ::-1].astype(np.uint8) * 255).save(tmp_path / "masks" / "a.png", exif=exif(1))
    sample = FolderDataset("test", tmp_path, test=["a"])[0]
    np.testing.assert_array_equal(sample.mask, sample.image[..., 0] > 127)


def test_the_error_of_sizes_names_exif(tmp_path):
    write(tmp_path, "a")
    write(tmp_path, "b")
    Image.fromarray(picture()).save(tmp_path / "images" / "a.png", exif=exif(6))
    save(np.ones((H + 2, W), np.uint8) * 255, tmp_path / "masks" / "a.png")
    with pytest.raises(DataError, match=r"they must agree \(a\.png is turned by EXIF orientation 6\)"):
        FolderDataset("test", tmp_path, test=["a"])


# Folders that are kinds


def test_folders_of_kinds_are_warned_about(tmp_path, caplog):
    for kind, count in (("cat", 45), ("dog", 5)):
        for i in range(count):
            write(tmp_path, f"{kind}/{i}", i)
    with caplog.at_level(logging.WARNING):
        train = FolderDataset("train", tmp_path)
    held_out = "dog" if train.ids[0].startswith("cat") else "cat"
    assert (
        f"{len(train)} images of 1 folders to train on, {50 - len(train)} images of 1 folders to test on" in caplog.text
    )
    assert f"{held_out} to test on" in caplog.text
    assert "dataset.groups=none" in caplog.text


def test_images_can_be_drawn_from_all_folders(tmp_path, caplog):
    for kind, count in (("cat", 45), ("dog", 15)):
        for i in range(count):
            write(tmp_path, f"{kind}/{i}", i)
    with caplog.at_level(logging.INFO):
        train, test = (FolderDataset(split, tmp_path, groups="none") for split in ("train", "test"))
    assert (len(train), len(test)) == (48, 12)
    assert {id.partition("/")[0] for id in test.ids} == {"cat", "dog"}
    assert len(set(train.groups)) == 48
    assert "48 images to train on, 12 images to test on" in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_many_folders_of_one_size_are_no_warning(tmp_path, caplog):
    for video in range(10):
        for frame in range(2):
            write(tmp_path, f"v{video}/{frame}", frame)
    with caplog.at_level(logging.INFO):
        FolderDataset("train", tmp_path)
    assert "16 images of 8 folders to train on, 4 images of 2 folders to test on" in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


# Folders that are splits


def splits(root, **options):
    return [list(FolderDataset(split, root, **options).ids) for split in ("train", "test")]


@pytest.mark.parametrize("test", ["test", "val", "valid", "validation"])
def test_folders_of_images_that_are_named_as_splits_are_the_splits(test, tmp_path, caplog):
    for stem in ("train/a", "train/b", "train/c", f"{test}/d"):
        write(tmp_path, stem)
    with caplog.at_level(logging.INFO):
        assert splits(tmp_path) == [["train/a", "train/b", "train/c"], [f"{test}/d"]]
    assert f"3 images of train/ to train on, 1 images of {test}/ to test on" in caplog.text
    assert "the test split is 1 of 4 images" in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_images_to_validate_on_are_neither_where_there_are_some_to_test_on(tmp_path, caplog):
    for stem in ("train/a", "val/b", "test/c"):
        write(tmp_path, stem)
    with caplog.at_level(logging.INFO):
        assert splits(tmp_path) == [["train/a"], ["test/c"]]
    assert "val/ is neither trained on nor tested on, as there is test/" in caplog.text


def test_a_split_is_no_video_but_its_folders_are(tmp_path):
    for stem in ("train/1/a", "train/1/b", "train/2/a", "val/3/a", "val/3/b"):
        write(tmp_path, stem)
    train, test = (FolderDataset(split, tmp_path) for split in ("train", "test"))
    assert list(train.groups) == ["train/1", "train/1", "train/2"]
    assert list(test.groups) == list(test.ids)
    write(tmp_path / "flat", "train/a")
    write(tmp_path / "flat", "train/b")
    write(tmp_path / "flat", "val/c")
    assert list(FolderDataset("train", tmp_path / "flat").groups) == ["train/a", "train/b"]


def test_what_the_user_says_goes_before_the_names_of_folders(tmp_path):
    for stem in [*(f"train/{i}" for i in range(10)), *(f"val/{i}" for i in range(10))]:
        write(tmp_path, stem)
    assert {stem.partition("/")[0] for stem in splits(tmp_path, test=["train/*"])[1]} == {"train"}
    assert len(splits(tmp_path, test=0.2)[1]) == 10  # one of two folders
    assert len(splits(tmp_path, groups="none")[1]) == 4


@pytest.mark.parametrize("stems", [["train/a", "bus/b"], ["train/a", "val/b", "c"], ["val/a", "test/b"]])
def test_folders_of_other_names_are_no_splits(stems, tmp_path, caplog):
    for stem in stems:
        write(tmp_path, stem)
    with caplog.at_level(logging.INFO):
        assert sorted(both(tmp_path)) == sorted(stems)
    assert "train/ to train on" not in caplog.text


@pytest.mark.parametrize("test", ["test", "val", "valid", "validation"])
def test_a_root_may_hold_a_folder_for_each_split(test, tmp_path, caplog):
    write(tmp_path / "train", "a")
    write(tmp_path / test, "b")
    with caplog.at_level(logging.INFO):
        assert splits(tmp_path) == [["a"], ["b"]]
    assert f"the test split is {test}/" in caplog.text


def test_of_a_root_with_three_folders_one_is_neither(tmp_path, caplog):
    for split in ("train", "valid", "test"):
        write(tmp_path / split, split[0])
    with caplog.at_level(logging.INFO):
        assert splits(tmp_path) == [["t"], ["t"]]
    assert f"{tmp_path}: valid/ is neither trained on nor tested on, as there is test/" in caplog.text


def test_a_root_with_nothing_to_test_on_is_told_what_is_expected(tmp_path):
    write(tmp_path / "train", "a")
    write(tmp_path / "dev", "b")
    with pytest.raises(DataError, match=r"holds train/, so it must also hold test/, val/, valid/ or validation/, and"):
        FolderDataset("train", tmp_path)


# What is in a folder


def test_webp_and_tiff_pairs_are_used(tmp_path):
    for name, suffix in (("a", ".webp"), ("b", ".tif"), ("c", ".png"), ("d", ".TIFF")):
        write(tmp_path, name, image_suffix=suffix, mask_suffix=".tif")
    assert sorted(both(tmp_path)) == ["a", "b", "c", "d"]
    np.testing.assert_array_equal(FolderDataset("test", tmp_path, test=["b"])[0].mask, mask())


def test_linked_folders_are_used(tmp_path):
    write(tmp_path / "data", "a")
    write(tmp_path / "elsewhere", "v/b")
    for kind in ("images", "masks"):
        (tmp_path / "data" / kind / "linked").symlink_to(tmp_path / "elsewhere" / kind)
    assert sorted(both(tmp_path / "data", groups="none")) == ["a", "linked/v/b"]


def test_names_meet_in_both_unicode_forms(tmp_path):
    write(tmp_path, unicodedata.normalize("NFC", "Gänse"), mask_stem=unicodedata.normalize("NFD", "Gänse"))
    write(tmp_path, "b")
    assert unicodedata.normalize("NFC", "Gänse") in both(tmp_path)


@pytest.mark.parametrize(
    ("mask_name", "mask_stem"),
    [("{stem}_mask", "{}_mask"), ("{name}", "{}.jpg"), ("mask-{stem}", "mask-{}"), ("{stem}_seg.v2", "{}_seg.v2")],
)
def test_suffixed_masks_are_matched_and_the_error_proposes_how(mask_name, mask_stem, tmp_path):
    stems = ["a.rf.0a1b", "b", "deep/c"]
    for stem in stems:
        folder, _, name = stem.rpartition("/")
        write(tmp_path, stem, mask_stem=f"{folder}/{mask_stem.format(name)}".lstrip("/"), image_suffix=".jpg")
    with pytest.raises(DataError) as told:
        FolderDataset("train", tmp_path)
    assert f"With dataset.mask_name='{mask_name}', 3 of them have one." in str(told.value)
    assert sorted(both(tmp_path, mask_name=mask_name, groups="none")) == stems


def test_images_and_masks_may_share_a_folder(tmp_path):
    for name in "abc":
        save(picture(), tmp_path / "images" / f"{name}.png")
        save(mask().astype(np.uint8) * 255, tmp_path / "images" / f"{name}_mask.png")
    assert sorted(both(tmp_path, masks="images", mask_name="{stem}_mask")) == ["a", "b", "c"]


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_images_that_would_all_be_their_own_masks_are_told(on_error, tmp_path):
    for name in "abc":
        save(picture(), tmp_path / "images" / f"{name}.png")
        save(mask().astype(np.uint8) * 255, tmp_path / "images" / f"{name}_mask.png")
    with pytest.raises(DataError, match=r"every image would be its own mask; set dataset\.mask_name .*'\{stem\}_mask'"):
        FolderDataset("train", tmp_path, masks="images", on_error=on_error)


@pytest.mark.parametrize("masks", ["masks", "images"])
def test_a_mask_may_be_in_a_folder_of_its_own(masks, tmp_path):
    for stem in ("a", "b", "deep/c"):
        save(picture(), tmp_path / "images" / f"{stem}.jpg")
        save(mask().astype(np.uint8) * 255, tmp_path / masks / stem / "label.png")
    assert sorted(both(tmp_path, masks=masks, mask_name="{stem}/label", groups="none")) == ["a", "b", "deep/c"]


@pytest.mark.parametrize("file", ["annotations/instances_default.json", "a.json", "annotations.xml"])
def test_annotations_of_other_tools_are_told(file, tmp_path):
    save(picture(), tmp_path / "images" / "a.png")
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("{}")
    with pytest.raises(DataError, match=r"no folder .*masks; .* may hold polygons: dataset=coco, dataset=labelme or"):
        FolderDataset("train", tmp_path)


def test_a_name_for_masks_that_is_none(tmp_path):
    write(tmp_path, "a")
    for mask_name in ("mask", "{stem", "{other}", "{0}"):
        with pytest.raises(OptionError, match="it must hold"):
            FolderDataset("train", tmp_path, mask_name=mask_name)
