"""`alignsam predict` to COCO's and YOLO's files, and training's readers on these."""

import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from alignsam_gym import AlignSAM
from alignsam_gym.data import load_dataset


@pytest.fixture
def expected(make_run, photos):
    """The run's folder, and what its agent predicts of each photograph, by name."""
    run = make_run()
    agent = AlignSAM.from_pretrained(run)
    return run, {name: agent.predict(photos / name) for name in ("wide.jpg", "deep/tall.png")}


def test_cocos_file_has_masks_scores_and_the_photographs_paths(alignsam, expected, photos, tmp_path):
    run, predictions = expected
    out = tmp_path / "out"
    assert alignsam("predict", run, photos, "--out", out, "--format", "coco").endswith("out/annotations.json")
    coco = COCO(out / "annotations.json")
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == ["target"]
    found = {coco.loadImgs(annotation["image_id"])[0]["file_name"]: annotation for annotation in coco.anns.values()}
    assert found.keys() == predictions.keys()
    for name, prediction in predictions.items():
        np.testing.assert_array_equal(coco.annToMask(found[name]), prediction.mask)
        assert found[name]["score"] == pytest.approx(float(prediction.probability[prediction.mask].mean()))


@pytest.mark.parametrize(
    ("format", "options"), [("coco", {"annotations": "annotations.json", "images": "photos"}), ("yolo", {})]
)
def test_training_reads_the_masks_that_were_predicted(alignsam, expected, photos, tmp_path, format, options):
    run, predictions = expected
    if format == "yolo":  # which finds labels/ by images/
        photos = photos.rename(tmp_path / "images")
    alignsam("predict", run, photos, "--out", tmp_path, "--format", format, "--category", "a cat")
    dataset = load_dataset(format, "train", root=tmp_path, categories="a cat", test="none", **options)
    for sample in map(dataset.__getitem__, range(2)):
        [name] = [name for name in predictions if name.startswith(sample.id)]
        np.testing.assert_array_equal(sample.mask, predictions[name].mask)
        assert sample.text == "a cat"


def test_scores_end_yolos_lines_where_asked_for(alignsam, expected, photos, tmp_path):
    run, predictions = expected
    alignsam("predict", run, photos, "--out", tmp_path / "out", "--format", "yolo-scores")
    lines = (tmp_path / "out/labels/deep/tall.txt").read_text().splitlines()
    assert {line.split()[-1] for line in lines} == {f"{predictions['deep/tall.png'].score:.4f}"}
    assert all(len(line.split()) % 2 == 0 for line in lines)


def test_the_names_of_other_labels_are_not_replaced(alignsam, expected, photos, tmp_path):
    run, _ = expected
    arguments = ("predict", run, photos, "--out", tmp_path, "--format", "yolo")
    alignsam(*arguments)
    alignsam(*arguments, "--overwrite")
    names = (tmp_path / "data.yaml").read_bytes()
    assert "data.yaml belongs to other labels" in alignsam(*arguments, "--category", "dog", "--overwrite", status=1)
    assert (tmp_path / "data.yaml").read_bytes() == names


def test_a_failure_keeps_an_earlier_file(alignsam, expected, photos, tmp_path):
    run, _ = expected
    arguments = ("predict", run, photos, "--out", tmp_path / "out", "--format", "coco")
    alignsam(*arguments)
    before = (tmp_path / "out/annotations.json").read_bytes()
    alignsam(*arguments, "--overwrite", "--text", "star", status=1)
    assert (tmp_path / "out/annotations.json").read_bytes() == before
    assert json.loads(before)["images"]


@pytest.mark.parametrize(
    ("format", "name"),
    [
        ("mask", "wide.png"),
        ("overlay", "wide.png"),
        ("video", "images.mp4"),
        ("coco", "annotations.json"),
        ("yolo", "labels/wide.txt"),
    ],
)
def test_what_is_there_already_is_replaced_only_where_asked_for(alignsam, make_run, photos, tmp_path, format, name):
    """It may be a user's own mask, label or video."""
    run, images, file = make_run(), tmp_path / "images", tmp_path / "out" / name
    images.mkdir()
    (photos / "wide.jpg").rename(images / "wide.jpg")
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    arguments = ("predict", run, images, "--out", tmp_path / "out", "--format", format)
    assert f"{file} is there already; write to another folder, or replace it: --overwrite" in alignsam(
        *arguments, status=1
    )
    assert file.read_text() == "mine"
    alignsam(*arguments, "--overwrite")
    assert file.read_bytes() != b"mine"
