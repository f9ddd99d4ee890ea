"""What can be wrong with annotation files, and what the message says."""

import pytest

from alignsam_gym.errors import DataError, OptionError
from alignsam_gym.experiments.datasets import find_problems
from tests.alignsam_gym.data.annotation_files import POLYGONS, edit, load, replace_text, write_good
from tests.alignsam_gym.data.trees import H, W


def first(content):
    return content["annotations"][0]


def lines(*numbers):
    return lambda root: (root / "labels/a.txt").write_text(" ".join(map(str, numbers)))


# The format, what is wrong, how to spoil a good data set, options, and the message.
AT_ONCE = [
    ("coco", "no root", None, {"root": None}, r"dataset='coco' needs root=<the folder that holds images/ and the ann"),
    ("labelme", "no root", None, {"root": None}, r"needs root=<the folder that holds the images and their JSON files>"),
    ("yolo", "a missing root", None, {"root": "nowhere"}, r"There is no folder nowhere: root must hold images/ and labels/"),
    ("coco", "no annotation file named", None, {"annotations": None}, r"needs annotations=<file>\. There is labels\.json\."),
    ("coco", "a missing annotation file", None, {"annotations": "x.json"}, r"no annotation file .*x\.json\. There is labels"),
    ("cvat", "a missing annotation file", lambda r: (r / "annotations.xml").unlink(), {}, r"no annotation file .*annotations\.xml"),
    ("coco", "test images without their file", None, {"test_images": "more"}, r"test_images needs test_annotations"),
    ("coco", "no JSON", lambda r: (r / "labels.json").write_text("{"), {}, r"labels\.json is not a COCO annotation file \(.*export it"),
    ("coco", "a list", lambda r: (r / "labels.json").write_text("[]"), {}, r"is not a COCO annotation file \(it holds a list\)"),
    ("coco", "no categories", edit(lambda c: c.pop("categories")), {}, r"is not a COCO annotation file \(it lacks 'categories'\)"),
    ("coco", "an image that is not listed", edit(lambda c: c["images"].pop(0)), {}, r"annotates an image with the id 0, but"),
    ("coco", "one name twice", edit(lambda c: c["images"][1].update(file_name="a.jpg")), {}, r"a\.jpg and a\.png under one name"),
    ("coco", "another size", edit(lambda c: c["images"][0].update(width=9)), {}, rf"a\.png is {W}×{H}, but .* was made for 9×{H}"),
    ("cvat", "no XML", lambda r: (r / "annotations.xml").write_text("<a"), {}, r"annotations\.xml is not an XML file of CVAT for im"),
    ("cvat", "no image", lambda r: (r / "annotations.xml").write_text("<a/>"), {}, r"it lists no image"),
    ("cvat", "a video", replace_text("annotations.xml", "<meta>", "<track/><meta>"), {}, r"holds tracks of a video; export it as"),
    ("labelme", "a JSON file of another kind", edit(lambda c: c.pop("shapes")), {}, r"a\.json is not a labelme file \(it lacks 'shapes'"),
    ("yolo", "words", lambda r: (r / "labels/a.txt").write_text("cat 1 1"), {}, r"a\.txt is not a file of YOLO's labels"),
    ("yolo", "a word for a category", lines("cat", 0, 0, 1, 0, 1, 1), {}, r"a\.txt is not a .* \(line 1: .*'cat'; it must be a cat"),
    ("yolo", "half a category", lines(0.5, 0, 0, 1, 0, 1, 1), {}, r"a\.txt is not a .* \(line 1: a category is a whole number, not 0\.5"),
    ("yolo", "a category that is no number", lines("inf", 0, 0), {}, r"a\.txt is not a .* \(line 1: a category is a whole number, not inf"),
    ("yolo", "a number that has no name", lines(7, 0, 0, 1, 0, 1, 1), {}, r"a\.txt: line 1 has category 7; there is 0, 1"),
    ("yolo", "a missing file of names", None, {"names": "x.yaml"}, r"x\.yaml is not a file of YOLO's categories"),
    ("yolo", "names that are none", lambda r: (r / "data.yaml").write_text("[:"), {}, r"data\.yaml is not a file of YOLO's cat"),
    ("yolo", "no labels", lambda r: [f.unlink() for f in (r / "labels").iterdir()], {}, r"labels holds no label for an image"),
    ("yolo", "no folder called images", lambda r: (r / "images").rename(r / "x"), {"images": "x"}, r"is in no folder called images"),
    ("coco", "a category that is needed", None, {"categories": []}, r"categories=\[\] leaves nothing"),
    ("coco", "nothing in the split", None, {"test": ["*"]}, r"The train split of .* is empty with test=\['\*'\]"),
]  # fmt: skip
WHEN_LOADED = [
    ("coco", "a polygon outside", edit(lambda c: first(c).update(segmentation=[[900, 1, 950, 1, 950, 9]])),
     rf"annotation 1, cat in a\.png, cannot be drawn: a polygon from \(900, 1\) to \(950, 9\) lies outside the image, {W}×{H}"),
    ("coco", "a box alone", edit(lambda c: first(c).update(segmentation=[])), r"no segmentation, perhaps a box alone"),
    ("coco", "two points", edit(lambda c: first(c).update(segmentation=[[1, 1, 5, 5]])), r"a polygon of 2 points"),
    ("coco", "words", edit(lambda c: first(c).update(segmentation=[["a", "b"]])), r"is no list of x and y in turn"),
    ("coco", "runs of another image", edit(lambda c: first(c).update(segmentation={"size": [2, 2], "counts": [4]})),
     rf"its run lengths are for 2×2, the image is {W}×{H}"),
    ("coco", "runs that are short", edit(lambda c: first(c).update(segmentation={"size": [H, W], "counts": [4]})),
     rf"its runs have 4 pixels in all, not the {H * W}"),
    ("coco", "objects below a pixel", edit(lambda c: first(c).update(segmentation=[[1, 1, 1.1, 1, 1.1, 1.1]])),
     r"no object in a\.png covers a pixel"),
    ("yolo", "a box alone", lines(0, 0.5, 0.5, 0.2, 0.2), r"line 1, cat in a\.png, .*it is a box, which is no mask"),
    ("yolo", "a score at the end", lines(0, 0, 0, 1, 0, 1, 1, 0.9), r"an odd number of coordinates; a score"),
    ("yolo", "pixels for fractions", lines(0, 3, 4, 20, 4, 20, 12), r"lies outside the image"),
    ("yolo", "pixels", lines(0, 3, 4, 20, 4, 20, 12), r"up to 20: they must be fractions of the image's width .* not pixels\. Correct it"),
    ("yolo", "a polygon outside", lines(0, 1.5, 0, 1.9, 0, 1.9, 1), r"lies outside .* been resized after it was labelled\. Correct it"),
    ("labelme", "a shape without area", edit(lambda c: c["shapes"][0].update(shape_type="point")), r"a point has no area"),
    ("labelme", "a mask that is no PNG", edit(lambda c: c["shapes"][0].update(shape_type="mask", mask="eA==")),
     r"shape 1, cat in a\.png, cannot be drawn: cannot identify"),
    ("labelme", "no points", edit(lambda c: c["shapes"][0].pop("points")), r"it lacks 'points'"),
    ("cvat", "a line", replace_text("annotations.xml", "polygon", "polyline"), r"polyline 2, cat in a\.png, .*a polyline has no area"),
    ("cvat", "torn points", replace_text("annotations.xml", ";", ","), r"is no list of x and y in turn"),
]  # fmt: skip
BY_TOOL = {name.partition("-")[0]: name for name in POLYGONS}


def spoilt(tool, root, spoil):
    write_good(BY_TOOL[tool], root)
    if tool == "cvat":  # `replace_text` needs elements that end with their own names
        file = root / "annotations.xml"
        file.write_text(file.read_text().replace("</polygon>", ""))
    if spoil:
        spoil(root)
    return BY_TOOL[tool]


@pytest.mark.parametrize(
    ("tool", "kind", "spoil", "options", "says"), AT_ONCE, ids=[f"{c[0]}: {c[1]}" for c in AT_ONCE]
)
def test_what_is_wrong_is_told_when_the_data_set_is_opened(tool, kind, spoil, options, says, tmp_path):
    name = spoilt(tool, tmp_path, spoil)
    with pytest.raises((DataError, OptionError), match=says):
        load(name, folder=tmp_path, **options)


@pytest.mark.parametrize(("tool", "kind", "spoil", "says"), WHEN_LOADED, ids=[f"{c[0]}: {c[1]}" for c in WHEN_LOADED])
def test_a_broken_object_is_told_when_its_sample_is_loaded(tool, kind, spoil, says, tmp_path):
    name = spoilt(tool, tmp_path, spoil)
    data = load(name, tmp_path, test=["d"])
    with pytest.raises(DataError, match=says):
        data[data.ids.index("a")]
    assert len(find_problems(data)) == 1
