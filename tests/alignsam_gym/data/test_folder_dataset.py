import logging

import numpy as np
import pytest
from PIL import Image

from alignsam_gym.data import load_dataset
from alignsam_gym.data.folder_dataset import FolderDataset
from alignsam_gym.errors import DataError, OptionError

H, W = 20, 30


def _mask():
    mask = np.zeros((H, W), bool)
    mask[4:12, 3:20] = True
    return mask


def _image(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (H, W, 3), dtype=np.uint8)


def _write(root, stems, image_suffix=".png", mask_suffix=".png"):
    for i, stem in enumerate(stems):
        for kind, suffix, content in (
            ("images", image_suffix, _image(i)),
            ("masks", mask_suffix, _mask().astype(np.uint8) * 255),
        ):
            file = root / kind / f"{stem}{suffix}"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(content).save(file)
    return root


@pytest.fixture
def folder(tmp_path):
    """Ten pairs named a to j."""
    return _write(tmp_path, "abcdefghij")


def _only(root, mask, **options):
    """The sample of a data set in which only `mask`, a PIL image, is of interest."""
    _write(root, ["a", "b"])
    mask.save(root / "masks" / "a.png")
    data = FolderDataset("test", root, test=["a"], **options)
    assert list(data.ids) == ["a"]
    return data[0]


def _ids(root, **options):
    return {split: list(FolderDataset(split, root, **options).ids) for split in ("train", "test")}


def test_samples_are_the_files(folder):
    data = load_dataset("folder", "train", root=str(folder), test=["a"])
    assert data.name == "folder"
    assert list(data.ids) == list("bcdefghij")
    np.testing.assert_array_equal(data[0].image, _image(1))
    np.testing.assert_array_equal(data[0].mask, _mask())
    assert data[0].id == "b"


# What masks and images may look like


@pytest.mark.parametrize("mode", ["L", "RGB", "1", "P"])
def test_black_and_white_masks_of_any_mode(tmp_path, mode):
    mask = Image.fromarray(_mask().astype(np.uint8) * 255).convert(mode)
    np.testing.assert_array_equal(_only(tmp_path, mask).mask, _mask())


def test_a_palette_mask_is_read_by_its_colours(tmp_path):
    mask = Image.fromarray(_mask().astype(np.uint8) * 5)
    mask.putpalette([0, 0, 0] * 5 + [250, 240, 230] + [0, 0, 0] * 250)
    assert mask.mode == "P"
    np.testing.assert_array_equal(_only(tmp_path, mask).mask, _mask())


def test_a_transparent_mask_of_one_colour_is_read_from_its_alpha(tmp_path):
    pixels = np.zeros((H, W, 4), np.uint8)
    pixels[..., :3], pixels[..., 3] = 200, _mask() * 255
    np.testing.assert_array_equal(_only(tmp_path, Image.fromarray(pixels)).mask, _mask())


def test_an_opaque_mask_with_an_alpha_channel_is_read_from_its_colours(tmp_path):
    pixels = np.full((H, W, 4), 255, np.uint8)
    pixels[..., :3] = _mask()[..., None] * 255
    np.testing.assert_array_equal(_only(tmp_path, Image.fromarray(pixels)).mask, _mask())


def test_grey_with_alpha_works_both_ways(tmp_path):
    for pixels in ([_mask() * 255, np.full((H, W), 255)], [np.full((H, W), 9), _mask() * 255]):
        mask = Image.fromarray(np.stack(pixels, -1).astype(np.uint8))
        assert mask.mode == "LA"
        np.testing.assert_array_equal(_only(tmp_path, mask).mask, _mask())


@pytest.mark.parametrize(
    ("options", "foreground"),
    [({"threshold": 127}, 200), ({"threshold": 199}, 200), ({"threshold": 200}, 255), ({"threshold": 0}, 1)],
)
def test_threshold_is_the_last_background_luminance(tmp_path, options, foreground):
    levels = np.zeros((H, W), np.uint8)
    levels[0], levels[1], levels[2] = 1, 200, 255
    sample = _only(tmp_path, Image.fromarray(levels), **options)
    np.testing.assert_array_equal(sample.mask, levels >= foreground)


def test_invert_swaps_foreground_and_background(tmp_path):
    mask = Image.fromarray(_mask().astype(np.uint8) * 255)
    np.testing.assert_array_equal(_only(tmp_path, mask, invert=True).mask, ~_mask())


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".bmp", ".PNG"])
def test_jpeg_and_bmp_in_any_case(tmp_path, suffix):
    _write(tmp_path, ["a", "b"], image_suffix=suffix, mask_suffix=suffix)
    sample = FolderDataset("test", tmp_path, test=["a"])[0]
    assert sample.image.shape == (H, W, 3)
    assert (sample.mask == _mask()).mean() > 0.97  # JPEG smears edges


def test_images_and_masks_may_differ_in_format(tmp_path):
    _write(tmp_path, ["a", "b"], image_suffix=".jpg", mask_suffix=".png")
    np.testing.assert_array_equal(FolderDataset("test", tmp_path, test=["a"])[0].mask, _mask())


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_images_of_any_mode_become_rgb(tmp_path, mode):
    _write(tmp_path, ["a", "b"], image_suffix=".jpg" if mode == "CMYK" else ".png")
    file = next((tmp_path / "images").glob("a.*"))
    Image.fromarray(_image()).convert(mode).save(file)
    image = FolderDataset("test", tmp_path, test=["a"])[0].image
    assert image.shape == (H, W, 3)
    assert image.dtype == np.uint8
    if mode == "L":
        np.testing.assert_array_equal(image[..., 0], image[..., 2])
    if mode == "RGBA":
        np.testing.assert_array_equal(image, _image())


def test_an_image_is_turned_as_its_camera_says(tmp_path):
    _write(tmp_path, ["a", "b"])
    upright = np.zeros((W, H, 3), np.uint8)  # taller than wide
    upright[:5, :5] = 255
    lying = Image.fromarray(np.rot90(upright).copy())
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise puts it right
    lying.save(tmp_path / "images" / "a.png", exif=exif)
    Image.fromarray(upright).save(tmp_path / "masks" / "a.png")
    sample = FolderDataset("test", tmp_path, test=["a"])[0]
    np.testing.assert_array_equal(sample.image, upright)
    np.testing.assert_array_equal(sample.mask, upright[..., 0] > 0)


# Splits


def test_a_share_is_held_out_and_the_draw_is_seeded(folder):
    first = _ids(folder, test=0.3, seed=1)
    assert len(first["test"]) == 3
    assert sorted(first["train"] + first["test"]) == list("abcdefghij")
    assert first == _ids(folder, test=0.3, seed=1)
    assert any(first["test"] != _ids(folder, test=0.3, seed=seed)["test"] for seed in range(2, 6))


def test_at_least_one_image_is_held_out(folder):
    assert len(_ids(folder, test=0.01)["test"]) == 1


def test_patterns_choose_what_is_held_out(tmp_path):
    _write(tmp_path, ["dog/1", "dog/2", "cat/1", "cat/2"])
    assert _ids(tmp_path, test=["dog/*"]) == {"train": ["cat/1", "cat/2"], "test": ["dog/1", "dog/2"]}
    assert _ids(tmp_path, test=["dog/1", "cat/2"])["test"] == ["cat/2", "dog/1"]


def test_a_single_pattern_needs_no_list(tmp_path):
    _write(tmp_path, ["dog/1", "dog/2", "cat/1"])
    assert _ids(tmp_path, test="dog/*") == {"train": ["cat/1"], "test": ["dog/1", "dog/2"]}


@pytest.mark.parametrize("seed", range(4))
def test_images_of_one_folder_stay_on_one_side_and_a_share_counts_folders(tmp_path, seed):
    _write(tmp_path, [f"video{v}/{frame}" for v in range(5) for frame in range(v + 1)])
    ids = _ids(tmp_path, test=0.4, seed=seed)
    videos = {split: {id.partition("/")[0] for id in of_split} for split, of_split in ids.items()}
    assert len(videos["test"]) == 2
    assert len(videos["train"]) == 3
    assert not videos["train"] & videos["test"]


@pytest.mark.parametrize("changed", ["removed", "added"])
def test_a_folder_that_changes_keeps_its_splits_but_for_the_margin(tmp_path, changed):
    names = [f"{i:02d}" for i in range(40)]
    _write(tmp_path, names)
    before = set(_ids(tmp_path)["train"])
    if changed == "added":
        _write(tmp_path, ["new"])
    else:
        for kind in ("images", "masks"):
            next((tmp_path / kind).glob("00.*")).unlink()
    assert len(before & set(_ids(tmp_path)["test"])) <= 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"invert": "no"}, "invert='no': it must be true or false"),
        ({"threshold": "127"}, "threshold='127': it must be a number"),
        ({"test": None}, "test=None: it must be a number"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_a_word_for_a_number_or_a_switch_is_told(folder, options, says):
    with pytest.raises(OptionError, match=says):
        FolderDataset("train", folder, **options)


def test_one_folder_with_everything_is_split_by_images(tmp_path):
    _write(tmp_path, [f"all/{i}" for i in range(10)])
    assert len(_ids(tmp_path, test=0.2)["test"]) == 2


def test_folders_named_train_and_test_are_the_splits(tmp_path):
    _write(tmp_path / "train", ["a", "b"])
    _write(tmp_path / "test", ["c"])
    assert _ids(tmp_path) == {"train": ["a", "b"], "test": ["c"]}


def test_the_two_folders_may_have_other_names(folder):
    (folder / "images").rename(folder / "photos")
    (folder / "masks").rename(folder / "labels")
    assert len(FolderDataset("train", folder, images="photos", masks="labels", test=["a"])) == 9


def test_folders_that_are_elsewhere_are_no_splits(folder, tmp_path):
    for split in ("train", "test"):
        (tmp_path / "root" / split).mkdir(parents=True)
    found = _ids(tmp_path / "root", images=str(folder / "images"), masks=str(folder / "masks"), test=["a"])
    assert found == {"train": list("bcdefghij"), "test": ["a"]}


def test_nothing_is_left_where_no_image_has_a_mask(folder):
    for file in (folder / "masks").iterdir():
        file.rename(file.with_stem(f"{file.stem}_mask"))
    with pytest.raises(DataError, match=r"No image below .* is left; the warnings say why"):
        FolderDataset("train", folder, on_error="skip")


def test_masks_without_an_image_are_no_samples(folder):
    Image.new("L", (W, H)).save(folder / "masks" / "spare.png")
    assert all("spare" not in ids for ids in _ids(folder).values())


def test_other_files_are_ignored(folder):
    (folder / "images" / "notes.txt").write_text("")
    assert sum(map(len, _ids(folder).values())) == 10


# What is wrong, and what the message says


def test_root_must_be_given():
    with pytest.raises(OptionError, match="needs root="):
        load_dataset("folder", "train")


def test_split_must_be_known(folder):
    with pytest.raises(OptionError, match="split='val' is unknown; choose one of train, test"):
        FolderDataset("val", folder)


@pytest.mark.parametrize("threshold", [-1, 65535])
def test_a_threshold_that_tells_nothing_apart(folder, threshold):
    with pytest.raises(OptionError, match=rf"threshold={threshold} leaves nothing to tell apart"):
        FolderDataset("train", folder, threshold=threshold)


@pytest.mark.parametrize("share", [0, 1, 1.5, -0.1])
def test_a_share_that_is_none(folder, share):
    with pytest.raises(OptionError, match=f"test={share} is not a share between 0 and 1"):
        FolderDataset("train", folder, test=share)


def test_a_missing_root(tmp_path):
    with pytest.raises(DataError, match=r"There is no folder .*nowhere: root must hold images/ and masks/"):
        FolderDataset("train", tmp_path / "nowhere")


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_a_missing_folder(folder, kind):
    (folder / kind).rename(folder / "away")
    with pytest.raises(DataError, match=rf"There is no folder .*{kind}; images= and masks= name the two"):
        FolderDataset("train", folder)


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_an_empty_folder(folder, kind):
    for file in (folder / kind).iterdir():
        file.unlink()
    with pytest.raises(DataError, match=rf"{kind} holds no PNG, JPEG, BMP, WebP or TIFF file"):
        FolderDataset("train", folder)


def test_an_image_without_its_mask(folder):
    (folder / "masks" / "c.png").unlink()
    with pytest.raises(DataError, match=r"images.c\.png has no mask .*masks.c\.\(png.*give every image a mask") as one:
        FolderDataset("train", folder)
    assert "more" not in str(one.value)
    (folder / "masks" / "d.png").unlink()
    (folder / "masks" / "e.png").unlink()
    with pytest.raises(DataError, match="and 2 more"):
        FolderDataset("train", folder)


def test_two_files_of_one_name(folder):
    Image.new("RGB", (W, H)).save(folder / "images" / "a.bmp")
    with pytest.raises(DataError, match=r"a\.bmp and .*a\.png have one name; keep one"):
        FolderDataset("train", folder)


def test_sizes_that_differ(folder):
    Image.new("L", (W + 1, H)).save(folder / "masks" / "c.png")
    with pytest.raises(DataError, match=rf"c\.png is {W}×{H} but its mask .*c\.png is {W + 1}×{H}; they must agree"):
        FolderDataset("train", folder, test=["a"])


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_a_file_that_is_no_image(folder, kind):
    (folder / kind / "c.png").write_text("not a picture")
    with pytest.raises(DataError, match=rf"{kind}.c\.png cannot be read as an image \(.+\); replace or remove it"):
        FolderDataset("train", folder, test=["a"])


@pytest.mark.parametrize("kind", ["images", "masks"])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp"])
def test_a_torn_file_is_named_when_its_sample_is_loaded(tmp_path, kind, suffix):
    _write(tmp_path, ["a", "b"], suffix, suffix)
    file = tmp_path / kind / f"a{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (H, W, 3), dtype=np.uint8)).save(file)
    content = file.read_bytes()
    file.write_bytes(content[: int(0.7 * len(content))])
    data = FolderDataset("test", tmp_path, test=["a"])
    with pytest.raises(DataError, match=rf"{kind}.a\{suffix} cannot be read as an image .*replace or remove"):
        data[0]


def test_a_mask_without_foreground_tells_by_what_rule(folder):
    Image.new("L", (W, H)).save(folder / "masks" / "a.png")
    data = FolderDataset("test", folder, test=["a"])
    with pytest.raises(DataError, match=r"a\.png has no foreground with threshold=None, invert=False, foreground=None"):
        data[0]
    assert FolderDataset("test", folder, test=["a"], invert=True)[0].mask.all()


def test_a_mask_of_foreground_alone_is_warned_about_and_works(folder, caplog):
    Image.new("L", (W, H), 255).save(folder / "masks" / "a.png")
    data = FolderDataset("test", folder, test=["a"])
    with caplog.at_level(logging.WARNING):
        sample = data[0]
    assert sample.mask.all()
    assert "a.png is foreground everywhere" in caplog.text


@pytest.mark.parametrize(("split", "test"), [("train", ["*"]), ("test", ["nothing"])])
def test_a_split_without_images(folder, split, test):
    with pytest.raises(DataError, match=rf"The {split} split of .* is empty with test=.*choose another share"):
        FolderDataset(split, folder, test=test)
