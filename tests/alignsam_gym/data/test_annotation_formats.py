"""The same masks in every format are the same masks."""

import json

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco
from pycocotools.coco import COCO
from safetensors.torch import load_file
from scipy.ndimage import binary_dilation, binary_erosion

from alignsam_gym.data import load_dataset
from alignsam_gym.data.region_drawing import draw_runs, unpack_runs
from alignsam_gym.experiments.train import train
from tests.alignsam_gym.data.annotation_files import FORMATS, LOSSLESS, options_of, runs_of, write
from tests.alignsam_gym.data.trees import save

H, W = 40, 56
AROUND = np.ones((3, 3), bool)


def disc(y, x, radius):
    rows, columns = np.mgrid[:H, :W]
    return (rows - y) ** 2 + (columns - x) ** 2 < radius**2


IMAGES = {
    name: np.random.default_rng(i).integers(0, 256, (H, W, 3), dtype=np.uint8)
    for i, name in enumerate(["a", "a-b", "b/1", "b/2", "c", "d", "e", "f"])
}
OBJECTS = {
    name: [
        ("cat", disc(12, 10 + i, 8)),
        ("cat", disc(30, 40 - i, 11)),
        ("dog", disc(6, 45, 5)),
        ("hen", disc(35, 8, 4)),
    ]
    for i, name in enumerate(IMAGES)
}


def union(name, *labels):
    return np.any([mask for label, mask in OBJECTS[name] if label in labels], axis=0)


def both(dataset, **options):
    splits = [load_dataset(dataset, split, groups="none", test=0.4, **options) for split in ("train", "test")]
    return [list(data.ids) for data in splits], {sample.id: sample for data in splits for sample in data}


def write_png(root):
    for name, image in IMAGES.items():
        save(image, root / "images" / f"{name}.png")
        save(union(name, "cat").astype(np.uint8) * 255, root / "masks" / f"{name}.png")


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_masks_in_every_format_are_the_same_samples(name, tmp_path):
    write_png(tmp_path / "png")
    write(name, tmp_path / "other", OBJECTS, IMAGES)
    tool = name.partition("-")[0]
    expected_ids, expected = both("folder", root=tmp_path / "png")
    ids, samples = both(tool, root=tmp_path / "other", categories="cat", **options_of(name))
    assert ids == expected_ids
    for key, sample in samples.items():
        assert sample.text == "cat"
        assert sample.void is None
        np.testing.assert_array_equal(sample.image, expected[key].image)
        if name in LOSSLESS:
            np.testing.assert_array_equal(sample.mask, expected[key].mask)
        else:
            inner, outer = binary_erosion(expected[key].mask, AROUND), binary_dilation(expected[key].mask, AROUND)
            assert (inner <= sample.mask).all()
            assert (sample.mask <= outer).all()
    _, several = both(tool, root=tmp_path / "other", categories=["dog", "cat"], **options_of(name))
    _, every = both(tool, root=tmp_path / "other", categories="all", **options_of(name))
    assert several["a"].text is None
    if name in LOSSLESS:
        np.testing.assert_array_equal(several["a"].mask, union("a", "cat", "dog"))
        np.testing.assert_array_equal(every["a"].mask, union("a", "cat", "dog", "hen"))


def test_polygons_are_filled_as_coco_fills_them(tmp_path, capsys):
    write("coco-polygons", tmp_path, OBJECTS, IMAGES)
    reference = COCO(str(tmp_path / "labels.json"))
    _, samples = both("coco", root=tmp_path, annotations="labels.json", categories="all")
    for image in reference.imgs.values():
        drawn = [reference.annToMask(each) for each in reference.imgToAnns[image["id"]]]
        np.testing.assert_array_equal(samples[image["file_name"][:-4]].mask, np.any(drawn, axis=0))


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=30), st.booleans())
def test_run_lengths_are_unpacked_and_decoded_as_coco_does(runs, begins_with_foreground):
    runs = [0, *runs] if begins_with_foreground else runs
    height = 7
    runs[-1] += -sum(runs) % height
    size = [height, sum(runs) // height]
    packed = coco.frPyObjects({"size": size, "counts": runs}, *size)
    assert unpack_runs(packed["counts"].decode()) == runs
    np.testing.assert_array_equal(draw_runs(runs, (size[1], height), "F"), coco.decode(packed).astype(bool))


@given(st.integers(1, 9), st.integers(1, 9), st.data())
def test_run_lengths_of_any_mask_give_it_back(height, width, data):
    mask = np.reshape(
        data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width)), (height, width)
    )
    for order in ("C", "F"):
        np.testing.assert_array_equal(draw_runs(runs_of(mask, order), (width, height), order), mask)


@pytest.mark.parametrize("name", ["coco-runs", "labelme-masks"])
def test_a_very_large_image_and_its_mask_are_reduced_alike(name, tmp_path, monkeypatch):
    monkeypatch.setattr("alignsam_gym.data.image_files.FULL_SIZE_PIXELS", 700)
    write_png(tmp_path / "png")
    write(name, tmp_path / "other", OBJECTS, IMAGES)
    _, expected = both("folder", root=tmp_path / "png")
    _, samples = both(name.partition("-")[0], root=tmp_path / "other", categories="cat", **options_of(name))
    assert samples["a"].image.shape == (H // 2, W // 2, 3)
    np.testing.assert_array_equal(samples["a"].mask, expected["a"].mask)


SHORT = [
    *("dataset.groups=none", "srm.features=sam", "srm.width=8", "srm.final_updates=2", "episodes=1", "env.num_envs=2"),
    *("env.image_size=64", "env.patch_size=16", "env.shots=4", "env.max_steps=2", "agent.n_epochs=1"),
    *("agent.batch_size=4", "evaluate.strategies=[agent]", "evaluate.limit=1", "evaluate.filmstrips=0"),
]


def test_a_training_on_runs_of_coco_is_that_on_png(tmp_path, toy_sam):
    write_png(tmp_path / "folder")
    write("coco-packed", tmp_path / "coco", OBJECTS, IMAGES)
    of_coco = ["dataset.annotations=labels.json", "dataset.categories=cat"]
    metrics, weights = [], []
    for name, options in (("folder", []), ("coco", of_coco)):
        run = tmp_path / "runs" / name
        run.mkdir(parents=True)
        with initialize_config_module("alignsam_gym.conf", version_base="1.3"):
            train(run, compose("train", [f"dataset={name}", f"dataset.root={tmp_path / name}", *options, *SHORT]))
        measured = json.loads((run / "metrics.json").read_text())
        metrics.append(
            {key: value for key, value in measured.items() if key not in ("training_minutes", "measured_on")}
        )
        weights.append({file.name: load_file(file) for file in run.glob("*.safetensors")})
    assert metrics[0] == metrics[1]
    assert metrics[0]["iou_by_image"]
    assert weights[0].keys() == weights[1].keys() != set()
    for file, tensors in weights[0].items():
        assert all(torch.equal(weights[1][file][key], tensor) for key, tensor in tensors.items())


def test_crowds_are_void_and_empty_images_are_left_out_unless_asked_for(tmp_path):
    objects = {
        "a": [("cat", disc(12, 12, 8)), ("cat", disc(12, 20, 8))],
        "b": [("dog", disc(9, 9, 5))],
        "c": [("cat", disc(9, 9, 5))],
    }
    write("coco-runs", tmp_path, objects, dict.fromkeys(objects, IMAGES["a"]))
    file = tmp_path / "labels.json"
    content = json.loads(file.read_text())
    content["annotations"][1]["iscrowd"] = content["annotations"][3]["iscrowd"] = 1
    file.write_text(json.dumps(content))
    options = {"root": tmp_path, "annotations": file.name, "test_annotations": file.name, "categories": "cat"}
    (only,) = load_dataset("coco", "test", **options)
    assert only.id == "a"
    np.testing.assert_array_equal(only.mask, disc(12, 12, 8))
    np.testing.assert_array_equal(only.void, disc(12, 20, 8) & ~disc(12, 12, 8))
    samples = {sample.id: sample for sample in load_dataset("coco", "test", empty=True, **options)}
    assert list(samples) == ["a", "b", "c"]
    assert not samples["b"].mask.any()
    assert samples["b"].void is None
    assert not samples["c"].mask.any()
    np.testing.assert_array_equal(samples["c"].void, disc(9, 9, 5))
