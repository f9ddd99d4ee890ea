"""What is written is read by COCO's own tools and by our own data sets, and is the same mask."""

import json

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from alignsam_gym.data import load_dataset
from alignsam_gym.data.annotation_export import CocoExport, yolo_label
from alignsam_gym.errors import DataError


def blobs(seed, size):
    """Several parts, some of them with holes, some of one pixel."""
    rng = np.random.default_rng(seed)
    mask = cv2.GaussianBlur(rng.random(size), (0, 0), 3) > 0.5
    mask[rng.random(size) < 0.02] ^= True
    return mask


MASKS = {"deep/a.png": blobs(0, (40, 61)), "b.png": blobs(1, (301, 33)), "c.png": np.zeros((9, 9), bool)}


@pytest.fixture
def root(tmp_path):
    for name, mask in MASKS.items():
        file = tmp_path / "images" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), np.zeros((*mask.shape, 3), np.uint8))
    return tmp_path


def read_masks(dataset):
    return {sample.id: sample.mask for sample in map(dataset.__getitem__, range(len(dataset)))}


def test_coco_is_read_by_its_own_tools_and_by_ours(root):
    export = CocoExport("a cat")
    for name, mask in MASKS.items():
        export.add(name, mask, score=0.75)
    export.save(root / "out/masks.json")
    coco = COCO(root / "out/masks.json")
    for image in coco.loadImgs(coco.getImgIds()):
        mask = MASKS[image["file_name"]]
        annotations = coco.loadAnns(coco.getAnnIds(image["id"]))
        assert len(annotations) == mask.any()
        for annotation in annotations:
            np.testing.assert_array_equal(coco.annToMask(annotation), mask)
            rows, columns = np.nonzero(mask)
            assert annotation["area"] == mask.sum()
            assert annotation["bbox"] == [
                columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1
            ]  # fmt: skip
    results = coco.loadRes(json.loads((root / "out/masks.json").read_text())["annotations"])
    assert [result["score"] for result in results.dataset["annotations"]] == [0.75, 0.75]
    dataset = load_dataset("coco", "train", root=root, annotations="out/masks.json", empty=True, test="none")
    found = read_masks(dataset)
    assert found.keys() == {"deep/a", "b", "c"}
    for name, mask in MASKS.items():
        np.testing.assert_array_equal(found[name.removesuffix(".png")], mask)


def test_yolo_is_read_by_our_reader_without_loss(root):
    for name, mask in MASKS.items():
        file = (root / "labels" / name).with_suffix(".txt")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yolo_label(mask))
    found = read_masks(load_dataset("yolo", "train", root=root, empty=True, test="none"))
    for name, mask in MASKS.items():
        np.testing.assert_array_equal(found[name.removesuffix(".png")], mask)


def test_a_score_is_the_last_number_of_each_line():
    mask = blobs(0, (40, 61))
    plain, scored = yolo_label(mask).splitlines(), yolo_label(mask, 0.87654).splitlines()
    assert scored == [f"{line} 0.8765" for line in plain]
    assert len(plain) > 3
    assert not yolo_label(np.zeros((3, 4), bool))


def test_corners_of_the_widest_images_are_exact():
    """Six digits are enough where an image has ten thousand pixels a side."""
    mask = np.zeros((3, 10_000), bool)
    mask[1, 1::3] = True
    numbers = [[float(word) for word in line.split()[1:]] for line in yolo_label(mask).splitlines()]
    columns = np.array(numbers)[:, 0::2] * 10_000
    assert np.abs(columns - columns.round()).max() < 0.01


def test_a_full_file_system_is_told(root):
    (root / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        CocoExport("cat").save(root / "file/masks.json")
