"""What the readers of annotation files take."""

import json
import logging
import re
import sys
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

from alignsam_gym.data.region_drawing import box_outline, draw_polygons, draw_runs, ellipse_outline, unpack_runs
from alignsam_gym.errors import DataError, OptionError
from alignsam_gym.foundation.encoding.embedding_store import RecentStore
from alignsam_gym.foundation.encoding.encoded_dataset import EncodedDataset
from tests.alignsam_gym.data.annotation_files import NAMES, POLYGONS, edit, load, replace_text, write, write_good
from tests.alignsam_gym.data.trees import H, W, mask, picture, save


@pytest.mark.parametrize("name", POLYGONS)
def test_an_unknown_category_is_answered_with_those_there_are(name, tmp_path):
    write_good(name, tmp_path)
    with pytest.raises(OptionError, match=r"categories='cta' is unknown; choose one of cat, dog\. Did you mean cat\?"):
        load(name, tmp_path, categories=["dog", "cta"])
    with pytest.raises(OptionError, match=r"has several categories: cat, dog\. Choose with dataset\.categories='cat'"):
        load(name, tmp_path, categories=None)


@pytest.mark.parametrize(("name", "number"), [("yolo", 1), ("coco-polygons", 5)])
def test_a_category_may_be_a_number(name, number, tmp_path):
    write_good(name, tmp_path)
    by_name, by_number = (load(name, tmp_path, test=["d"], categories=each)[0] for each in ("dog", number))
    np.testing.assert_array_equal(by_name.mask, by_number.mask)
    assert by_number.text == "dog"


def test_yolos_categories_are_numbers_where_nothing_names_them(tmp_path):
    write_good("yolo", tmp_path)
    (tmp_path / "data.yaml").unlink()
    assert load("yolo", tmp_path, categories=0)[0].mask.any()
    with pytest.raises(OptionError, match=r"categories='cat' is unknown; choose one of 0, 1"):
        load("yolo", tmp_path)


@pytest.mark.parametrize("names", [None, 'names: ["0", "1"]'])
def test_the_number_of_a_category_is_no_text(names, tmp_path, toy_model):
    write_good("yolo", tmp_path)
    if names:
        (tmp_path / "data.yaml").write_text(names)
    else:
        (tmp_path / "data.yaml").unlink()
    assert load("yolo", tmp_path, categories=0, text="cat").text == "cat"
    data = load("yolo", tmp_path, categories=0)
    assert data.text is None
    encoded = EncodedDataset(data, toy_model, RecentStore(), 64, clip=Mock(fingerprint="clip"))
    with pytest.raises(DataError, match="yolo does not say what its masks show"):
        encoded.fetch([0])


@pytest.mark.parametrize("name", POLYGONS)
def test_a_missing_image_is_told_or_left_out(name, tmp_path, caplog):
    write_good(name, tmp_path)
    folder = tmp_path if name.startswith("labelme") else tmp_path / "images"
    (folder / "b.png").unlink()
    if name == "yolo":  # which lists what images there are
        assert "b" not in load(name, tmp_path, test=["d"]).ids
        return
    with pytest.raises(DataError, match=r"names the image b\.png, but there is no .*b\.png; let images= be the folder"):
        load(name, tmp_path, test=["d"])
    assert list(load(name, tmp_path, test=["d"], on_error="skip").ids) == ["a", "c"]
    assert "Left out: " in caplog.text
    assert "names the image b.png" in caplog.text


def test_all_images_that_are_missing_or_broken_are_told_at_once(tmp_path):
    write_good("coco-runs", tmp_path)
    (tmp_path / "images/a.png").unlink()
    (tmp_path / "images/b.png").write_text("not a picture")
    save(picture()[1:], tmp_path / "images/d.png")
    with pytest.raises(DataError) as error:
        load("coco-runs", tmp_path, test=["d"])
    told = [r"there is no .*a\.png", r"b\.png cannot be read", r"d\.png is .* was made for"]
    assert all(re.search(says, line) for says, line in zip(told, str(error.value).splitlines(), strict=True))


@pytest.mark.parametrize("name", ["coco-runs", "labelme-masks", "cvat-masks", "yolo"])
def test_a_mask_is_turned_with_its_image_if_it_belongs_to_the_stored_rows(name, tmp_path):
    """Tools show images upright. Only a size that is that of the stored rows alone tells of another frame."""
    write_good(name, tmp_path)
    folder = tmp_path if name.startswith("labelme") else tmp_path / "images"
    upright = np.repeat((mask() * 255).astype(np.uint8)[..., None], 3, axis=2)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(upright)).save(folder / "a.png", exif=exif)
    sample = load(name, tmp_path, "test", test=["a"])[0]
    np.testing.assert_array_equal(sample.image, upright)
    assert np.mean(sample.mask != mask()) < 0.05  # YOLO's are polygons
    if name != "yolo":  # which states no size
        exif[0x0112] = 8
        Image.fromarray(upright).save(folder / "b.png", exif=exif)
        np.testing.assert_array_equal(load(name, tmp_path, "test", test=["b"])[0].mask, np.rot90(mask()))


def test_folders_and_files_of_their_own_are_the_splits(tmp_path):
    for name in ("coco-runs", "yolo", "cvat-masks"):
        for split in ("train", "test"):
            write_good(name, tmp_path / split)
    for split in ("train", "test"):
        write_good("labelme-masks", tmp_path / "labelme" / split)
    assert list(load("labelme", tmp_path / "labelme", "test").ids) == NAMES
    (tmp_path / "test" / "data.yaml").rename(tmp_path / "data.yaml")
    for name in ("coco-runs", "yolo", "cvat-masks"):
        assert list(load(name, tmp_path, "test").ids) == NAMES
    own = {"images": "train/images", "test_images": "test/images"}
    files = {"annotations": "train/labels.json", "test_annotations": "test/labels.json"}
    for split in ("train", "test"):
        for name, options in (("coco", own | files), ("yolo", own)):
            data = load(name, tmp_path, split, **options)
            assert list(data.ids) == NAMES
            assert all(file.parent.parent.name == split for file, _ in data.images.values())


DESCRIPTION = "names: [cat]\npath: ../datasets/cats\n"


@pytest.mark.parametrize(
    ("description", "found"),
    [
        ("", [["train/a", "train/b"], ["val/c", "val/d"]]),
        ("train: images/train\nval: images/val", [["a", "b"], ["c", "d"]]),
        ("train: ./images/val/\nval: images/train", [["c", "d"], ["a", "b"]]),
        ("train: images/train\nval: images/train", [["train/a", "train/b"], ["val/c", "val/d"]]),
        ("train: ../images/train\nval: ../images/val", [["train/a", "train/b"], ["val/c", "val/d"]]),
        ("train: train.txt\nval: [images/val]", [["train/a", "train/b"], ["val/c", "val/d"]]),
        ("train: images/train\nval: images/val\ntest: images/unlabelled", [["a", "b"], ["c", "d"]]),
    ],
)
def test_yolos_description_names_the_splits_or_else_folders_do(description, found, tmp_path):
    objects = {stem: [("cat", mask())] for stem in ("train/a", "train/b", "val/c", "val/d")}
    write("yolo", tmp_path, objects, {stem: picture() for stem in (*objects, "unlabelled/e")})
    (tmp_path / "data.yaml").write_text(DESCRIPTION + description)
    assert [list(load("yolo", tmp_path, split).ids) for split in ("train", "test")] == found


def test_yolos_description_gives_way_to_what_the_user_says(tmp_path, caplog):
    objects = {stem: [("cat", mask())] for stem in ("train/a", "val/b", "test/c")}
    write("yolo", tmp_path, objects, dict.fromkeys(objects, picture()))
    (tmp_path / "data.yaml").write_text(DESCRIPTION + "train: images/train\nval: images/val\ntest: images/test\n")
    with caplog.at_level(logging.INFO):
        assert list(load("yolo", tmp_path).ids) == ["a"]
    assert "the train split is images/train" in caplog.text
    assert "images/val is neither trained on nor tested on, as there is images/test" in caplog.text
    assert list(load("yolo", tmp_path, "test", test=["val/*"]).ids) == ["val/b"]
    own = {"images": "images/val", "test_images": "images/train"}
    assert [list(load("yolo", tmp_path, split, **own).ids) for split in ("train", "test")] == [["b"], ["a"]]


def test_what_roboflow_exports_is_split_without_a_test_part_too(tmp_path):
    for split in ("train", "valid"):
        write_good("yolo", tmp_path / split)
    (tmp_path / "train/data.yaml").rename(tmp_path / "data.yaml")
    (tmp_path / "data.yaml").write_text("names: [cat, dog]\ntrain: ../train/images\nval: ../valid/images\n")
    for split, folder in (("train", "train"), ("test", "valid")):
        assert {file.parent.parent.name for file, _ in load("yolo", tmp_path, split).images.values()} == {folder}


def test_a_split_of_labelme_is_found_by_the_folders_of_its_images(tmp_path):
    objects = {stem: [("cat", mask())] for stem in ("images/train/a", "images/train/b", "images/val/c")}
    write("labelme-masks", tmp_path, objects, dict.fromkeys(objects, picture()))
    assert list(load("labelme", tmp_path).ids) == ["images/train/a", "images/train/b"]
    assert list(load("labelme", tmp_path, "test").ids) == ["images/val/c"]
    with pytest.raises(DataError, match=r"There is no folder .*elsewhere"):
        load("labelme", tmp_path, images="elsewhere")


@pytest.mark.parametrize(
    ("train", "test", "found"),
    [
        ("images", "images/val", {"train": ["train/a", "train/b"], "test": ["c", "d"]}),
        ("images/train", "images", {"train": ["a", "b"], "test": ["val/c", "val/d"]}),
    ],
)
@pytest.mark.parametrize("name", ["yolo", "labelme-masks"])
def test_a_folder_of_test_images_among_the_others_is_left_out_of_these(name, train, test, found, tmp_path):
    objects = {stem: [("cat", mask())] for stem in ("train/a", "train/b", "val/c", "val/d")}
    write(name, tmp_path if name == "yolo" else tmp_path / "images", objects, dict.fromkeys(objects, picture()))
    for split, ids in found.items():
        assert list(load(name, tmp_path, split, images=train, test_images=test).ids) == ids


def test_paths_of_other_computers_and_of_the_root_are_found_and_stay_below(tmp_path):
    write_good("coco-runs", tmp_path)
    names = iter(["C:\\photos\\a.png", "..\\..\\b.png", "images/c.png", "d.png"])
    edit(lambda content: [image.update(file_name=next(names)) for image in content["images"]])(tmp_path)
    data = load("coco", tmp_path, test=["d"])
    assert list(data.ids) == ["b", "a", "images/c"]
    assert all(data[index].mask.any() for index in range(3))


def test_files_that_are_elsewhere_are_no_splits(tmp_path):
    write_good("coco-runs", tmp_path / "photos")
    labels = (tmp_path / "photos/labels.json").rename(tmp_path / "labels.json")
    for split in ("train", "test"):
        (tmp_path / "photos" / split).mkdir()
    options = {"annotations": str(labels), "images": str(tmp_path / "photos/images"), "test": ["d"]}
    assert list(load("coco", tmp_path / "photos", **options).ids) == ["a", "b", "c"]
    assert list(load("coco", tmp_path / "photos", "test", **options).ids) == ["d"]


def test_yolos_files_may_begin_with_a_byte_order_mark(tmp_path):
    write_good("yolo", tmp_path)
    expected = load("yolo", tmp_path)
    for file in (tmp_path / "data.yaml", *(tmp_path / "labels").glob("*.txt")):
        file.write_text("\ufeff" + file.read_text(), encoding="utf-8")
    for sample, other in zip(load("yolo", tmp_path), expected, strict=True):
        np.testing.assert_array_equal(sample.mask, other.mask)


def test_labelme_may_leave_the_size_out(tmp_path):
    write_good("labelme-polygons", tmp_path)
    expected = load("labelme", tmp_path)
    for file in tmp_path.glob("*.json"):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"imageWidth": None, "imageHeight": None}))
    for sample, other in zip(load("labelme", tmp_path), expected, strict=True):
        np.testing.assert_array_equal(sample.mask, other.mask)


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_of_two_images_of_one_name_labelmes_is_the_one_that_its_file_names(suffix, tmp_path):
    write_good("labelme-polygons", tmp_path)
    save(picture(9), tmp_path / f"a{suffix}")
    for named in ("a.png", f"a{suffix}"):
        edit(lambda content, named=named: content.update(imagePath=named))(tmp_path)
        data = load("labelme", tmp_path, "test", test=["a"])
        assert [file.name for file, _ in data.images.values()] == [named]


def test_labelmes_image_may_have_been_converted_since(tmp_path):
    write_good("labelme-polygons", tmp_path)
    edit(lambda content: content.update(imagePath="a.bmp"))(tmp_path)
    assert list(load("labelme", tmp_path, "test", test=["a"]).ids) == ["a"]


@pytest.mark.parametrize("path", ["../images/{}.png", "..\\images\\{}.png", "C:\\photos\\{}.png"])
def test_labelmes_files_may_be_in_a_folder_of_their_own(path, tmp_path):
    write_good("labelme-polygons", tmp_path / "labels")
    (tmp_path / "images").mkdir()
    for file in (tmp_path / "labels").glob("*.png"):
        file.rename(tmp_path / ("images" if path.startswith("..") else "labels") / file.name)
    for file in (tmp_path / "labels").glob("*.json"):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"imagePath": path.format(file.stem)}))
    folder = "images" if path.startswith("..") else "labels"
    assert list(load("labelme", tmp_path, test=["*/d"]).ids) == [f"{folder}/{stem}" for stem in "abc"]


def test_an_image_that_lies_in_labelmes_file_alone_is_told(tmp_path):
    write_good("labelme-polygons", tmp_path)
    (tmp_path / "a.png").unlink()
    edit(lambda content: content.update(imageData="iVBORw0KGgo="))(tmp_path)
    with pytest.raises(
        DataError, match=r"no .*a\.png; the image lies in the JSON file itself, as imageData: decode it"
    ):
        load("labelme", tmp_path, test=["d"])


def test_yolos_categories_may_be_whole_fractions(tmp_path):
    write_good("yolo", tmp_path)
    expected = load("yolo", tmp_path)
    for file in (tmp_path / "labels").glob("*.txt"):
        file.write_text("".join(f"{line[0]}.0{line[1:]}\n" for line in file.read_text().splitlines()))
    for sample, other in zip(load("yolo", tmp_path), expected, strict=True):
        np.testing.assert_array_equal(sample.mask, other.mask)


def test_what_has_not_been_labelled_in_labelme_is_left_out(tmp_path):
    write_good("labelme-masks", tmp_path)
    save(picture(), tmp_path / "e.png")
    assert "e" not in load("labelme", tmp_path, test=["d"], empty=True).ids


def test_rectangles_circles_and_turned_shapes(tmp_path):
    box = draw_polygons([box_outline(3, 4, 13, 8)], (W, H))
    assert box[4:8, 3:13].all()
    assert box.sum() == 40
    turned = draw_polygons([box_outline(3, 4, 13, 8, degrees=90)], (W, H))
    assert turned[1:11, 6:10].sum() == turned.sum() == 40
    y, x = np.mgrid[:H, :W] + 0.5
    circle = (x - 15) ** 2 + (y - 12) ** 2 < 81
    assert (draw_polygons([ellipse_outline(15, 12, 9, 9)], (W, H)) != circle).sum() < 12
    write_good("labelme-polygons", tmp_path)
    shapes = [
        {"label": "cat", "shape_type": "circle", "points": [[15, 12], [15, 21]]},
        {"label": "cat", "shape_type": "rectangle", "points": [[30, 9], [34, 4]]},
    ]
    edit(lambda content: content.update(shapes=shapes))(tmp_path)
    sample = load("labelme", tmp_path, "test", test=["a"])[0]
    assert sample.mask[4:9, 30:34].all()
    assert abs(int(sample.mask.sum()) - int(circle.sum()) - 20) < 12
    write_good("cvat-polygons", tmp_path)
    replace_text("annotations.xml", "<polygon ", '<ellipse label="cat" cx="15" cy="12" rx="9" ry="9" /><polygon ')(
        tmp_path
    )
    replace_text(
        "annotations.xml", "<polygon ", '<box label="cat" xtl="30" ytl="4" xbr="34" ybr="9" rotation="0" /><polygon '
    )(tmp_path)
    assert (load("cvat", tmp_path, "test", test=["a"])[0].mask >= sample.mask).mean() > 0.99


def test_a_polygon_is_cut_at_the_border():
    whole = draw_polygons([[(-20, -9), (W + 9, -9), (W + 9, H / 2), (-20, H / 2)]], (W, H))
    assert whole[: H // 2].all()
    assert not whole[H // 2 :].any()


@pytest.mark.parametrize("packed", ["o", "é", "!"])
def test_packed_run_lengths_that_are_none(packed):
    with pytest.raises(DataError, match="packed run lengths"):
        unpack_runs(packed)


@pytest.mark.parametrize("runs", [[-1, 5], [1.5, 2.5], [[4]]])
def test_run_lengths_that_are_none(runs):
    with pytest.raises(DataError, match="no list of whole numbers"):
        draw_runs(runs, (2, 2), "C")


def test_polygons_without_pycocotools_are_told(tmp_path, monkeypatch):
    write_good("yolo", tmp_path)
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(OptionError, match=r"pycocotools: pip install 'alignsam-gym\[coco\]'"):
        load("yolo", tmp_path)[0]
    write_good("coco-runs", tmp_path / "runs")
    assert load("coco", tmp_path / "runs")[0].mask.any()


def test_images_without_the_target_are_played_with_an_empty_mask(tmp_path, make_toy):
    write_good("coco-runs", tmp_path)
    edit(lambda content: content["annotations"].pop(0))(tmp_path)
    options = {"root": tmp_path, "annotations": "labels.json", "categories": "cat", "test": ["d"], "empty": True}
    env = make_toy(dataset="coco", dataset_kwargs=options)
    _, info = env.reset(seed=0, options={"index": 0})
    assert info["image_id"] == "a"
    assert np.isfinite(env.step(5)[1])
