"""The whole pretraining, for a few steps on photographs that the test makes."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from alignsam_gym.data import shapes
from alignsam_gym.foundation.tiny import load_tiny_sam


def make_photographs(folder, masks, names):
    for name in (masks, "JPEGImages"):
        (folder / name).mkdir(parents=True)
    for index, name in enumerate(names):
        scene = shapes.draw("named", "test", index)
        Image.fromarray(scene.image).resize((200, 160)).save(folder / "JPEGImages" / f"{name}.jpg")
        classes = np.zeros(scene.image.shape[:2], np.uint8)
        for number, mask in enumerate(scene.masks.values(), start=1):
            classes[mask] = number
        classes[:4] = 255
        Image.fromarray(classes).resize((200, 160), Image.Resampling.NEAREST).save(folder / masks / f"{name}.png")


@pytest.mark.slow
def test_pretraining_runs_scores_and_repeats(tmp_path):
    make_photographs(tmp_path / "photos", "SegmentationClassAug", ["a", "b", "c"])
    make_photographs(tmp_path / "val", "SegmentationClass", ["x", "y"])
    (tmp_path / "val/ImageSets/Segmentation").mkdir(parents=True)
    (tmp_path / "val/ImageSets/Segmentation/val.txt").write_text("x\ny\n")
    results = []
    for attempt in range(2):
        output = tmp_path / str(attempt)
        command = [
            sys.executable, "-m", "experiments.pretrain_tiny", f"photographs={tmp_path / 'photos'}",
            f"voc_val={tmp_path / 'val'}", f"output={output}", "steps=6", "warmup=3", "batch_size=4", "scenes=10",
            "compile=false", "workers=1", "score_scenes=1", "log_every=1", "precision=float32",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, done.stderr
        sam = load_tiny_sam(output / "sam_tiny.safetensors")
        results.append(sam.mask_decoder.iou_token.weight)
        record = json.loads((output / "scores.json").read_text())
        assert record["step"] == 6
        for curve in record["scores"].values():
            assert list(curve) == ["1", "2", "4", "8", "15"]
            assert all(0 <= iou <= 1 for iou in curve.values())
    assert (results[0] == results[1]).all(), "the seed determines the weights"


@pytest.mark.slow
def test_missing_photographs_are_named(tmp_path):
    command = [sys.executable, "-m", "experiments.pretrain_tiny", f"photographs={tmp_path}", f"voc_val={tmp_path}"]
    done = subprocess.run([*command, f"output={tmp_path}"], capture_output=True, text=True, timeout=200)
    assert done.returncode == 1
    assert "SegmentationClassAug" in done.stderr
    assert "Traceback" not in done.stderr
