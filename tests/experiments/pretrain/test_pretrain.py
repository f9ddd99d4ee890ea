"""The whole pretraining, for a few steps on photographs that the test makes."""

import json
import shutil

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from PIL import Image

from alignsam_gym.data import drawn_scenes
from alignsam_gym.errors import DataError
from alignsam_gym.experiments.pretrain import pretrain_sam
from alignsam_gym.experiments.pretrain.__main__ import main
from alignsam_gym.foundation.tiny import load_tiny_sam
from alignsam_gym.foundation.tiny.tiny_clip import load_tiny_clip


def make_photographs(folder, masks, names):
    for name in (masks, "JPEGImages"):
        (folder / name).mkdir(parents=True)
    for index, name in enumerate(names):
        scene = drawn_scenes.draw_scene("named", "test", index)
        Image.fromarray(scene.image).resize((200, 160)).save(folder / "JPEGImages" / f"{name}.jpg")
        classes = np.zeros(scene.image.shape[:2], np.uint8)
        for number, mask in enumerate(scene.masks.values(), start=1):
            classes[mask] = number
        classes[:4] = 255
        Image.fromarray(classes).resize((200, 160), Image.Resampling.NEAREST).save(folder / masks / f"{name}.png")


@pytest.fixture
def photographs(tmp_path):
    """Training and validation photographs; arguments that name them and make a run short."""
    make_photographs(tmp_path / "photos", "SegmentationClassAug", ["a", "b", "c"])
    make_photographs(tmp_path / "val", "SegmentationClass", ["x", "y"])
    (tmp_path / "val/ImageSets/Segmentation").mkdir(parents=True)
    (tmp_path / "val/ImageSets/Segmentation/val.txt").write_text("x\ny\n")
    return [
        f"photographs={tmp_path / 'photos'}", f"voc_val={tmp_path / 'val'}", "steps=3", "warmup=1", "batch_size=4",
        "drawn=2", "scenes=10", "workers=1", "score_scenes=1", "log_every=1", "precision=float32",
    ]  # fmt: skip


@pytest.mark.slow
def test_pretraining_a_sam_runs_scores_and_repeats(command, tmp_path, photographs):
    results = []
    for attempt in range(2):
        output = tmp_path / str(attempt)
        command("pretrain", *photographs, f"output={output}")
        sam = load_tiny_sam(output / "sam_tiny.safetensors")
        results.append(sam.mask_decoder.iou_token.weight)
        record = json.loads((output / "scores.json").read_text())
        assert record["step"] == 3
        for curve in record["scores"].values():
            assert list(curve) == ["1", "2", "4", "8", "15", "click", "best_of_three", "chosen_of_three", "box"]
            assert curve["click"] == pytest.approx(curve["1"])
            assert curve["best_of_three"] >= curve["chosen_of_three"]
            assert all(0 <= iou <= 1 for iou in curve.values())
    assert (results[0] == results[1]).all(), "the seed determines the weights"


@pytest.mark.slow
def test_pretraining_a_clip_runs_scores_and_repeats(command, tmp_path, photographs):
    results, records = [], []
    clip = ["model=clip", "classes_weight=0", "every=1"]  # without the extra `pretrain`
    for attempt in range(2):
        output = tmp_path / str(attempt)
        command("pretrain", *photographs, f"output={output}", *clip)
        results.append(load_tiny_clip(output / "clip_tiny.safetensors").image.project.weight)
        records.append(json.loads((output / "scores.json").read_text()))
        assert records[-1]["step"] == 3
    assert (results[0] == results[1]).all(), "the seed determines the weights"
    assert {"shapes", "voc_val"} == records[0]["scores"].keys()
    for score in [*records[0]["scores"]["shapes"].values(), *records[0]["scores"]["voc_val"].values()]:
        assert score["count"] >= 1
        assert all(0 <= score[name] <= 1 for name in ("pointing", "iou", "chance"))

    weights = tmp_path / "0" / "clip_tiny.safetensors"
    command("pretrain", *photographs, f"output={tmp_path / 'again'}", *clip, "steps=0", f"init={weights}")
    again = json.loads((tmp_path / "again" / "scores.json").read_text())
    assert again["scores"].keys() == records[0]["scores"].keys()
    assert again["step"] == 0


@pytest.mark.slow
def test_an_interrupted_training_goes_on_and_a_finished_one_is_scored_again(command, tmp_path, photographs):
    output = [f"output={tmp_path}", "save_every=1", "score_every=2"]
    command("pretrain", *photographs, *output, "steps=2")
    for _ in range(2):
        command("pretrain", *photographs, *output, "steps=3")
    record = json.loads((tmp_path / "scores.json").read_text())
    assert record["step"] == 3
    log = (tmp_path / "pretrain.log").read_text()
    assert "going on after step 2" in log
    assert "going on after step 3" in log


def pretrain_here(*overrides):
    with initialize_config_module("alignsam_gym.conf", version_base="1.3"):
        main(compose("pretrain", list(overrides)))


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["photographs={home}"], "SegmentationClassAug"),
        (["voc_val={home}"], r"val\.txt cannot be read .*set voc_val to the folder VOCdevkit/VOC2012"),
        (["voc_val={home}/part"], r"x\.jpg is missing"),
        (["init={home}/nowhere.safetensors"], r"nowhere\.safetensors is missing"),
        (["init={home}/nowhere.safetensors", "model=clip"], r"nowhere\.safetensors is missing"),
        (["init={home}/val/ImageSets/Segmentation/val.txt"], "does not hold the embedded SAM's weights"),
    ],
)
def test_what_is_missing_is_told_before_anything_is_trained(photographs, tmp_path, overrides, says):
    shutil.copytree(tmp_path / "val", tmp_path / "part")
    (tmp_path / "part/JPEGImages/x.jpg").unlink()
    with pytest.raises(SystemExit, match=f"error: .*{says}"):
        pretrain_here(*photographs, f"output={tmp_path}", *(one.format(home=tmp_path) for one in overrides))


def test_a_sam_may_be_trained_without_drawn_scenes(photographs, tmp_path):
    output = f"output={tmp_path}"
    with initialize_config_module("alignsam_gym.conf", version_base="1.3"):
        config = compose("pretrain", [*photographs, "drawn=0", f"features={tmp_path}", output])
    torch.manual_seed(0)
    trainer = pretrain_sam.Trainer(pretrain_sam.build(config), config)
    [batch] = pretrain_sam.pictures(config, 1)
    losses = trainer.step(batch)
    assert len(batch.image) == config.batch_size
    assert {name.split("_")[0] for name in losses} == {"loss", "semantic", "photo"}
    assert all(np.isfinite(loss) for loss in losses.values())


def test_what_was_trained_is_kept_if_it_cannot_be_scored(photographs, tmp_path, monkeypatch):
    def fail(*_):
        raise DataError("broken")

    monkeypatch.setattr("alignsam_gym.experiments.pretrain.pretrain_sam.score", fail)
    with pytest.raises(SystemExit, match="error: broken"):
        pretrain_here(*photographs, f"output={tmp_path}", "steps=0")
    load_tiny_sam(tmp_path / "sam_tiny.safetensors")


@pytest.mark.parametrize(("backbone_rate", "detail_rate"), [(0, 0), (0, 0.5), (0.1, 0.5)])
def test_backbone_and_detail_learn_at_their_own_rates(photographs, tmp_path, backbone_rate, detail_rate):
    rates = [f"backbone_rate={backbone_rate}", f"detail_rate={detail_rate}", "drawn=0", "warmup=0"]
    with initialize_config_module("alignsam_gym.conf", version_base="1.3"):
        config = compose("pretrain", [*photographs, *rates, f"features={tmp_path / 'features'}", f"output={tmp_path}"])
    torch.manual_seed(0)
    trainer = pretrain_sam.Trainer(pretrain_sam.build(config), config)
    before = {name: value.clone() for name, value in trainer.sam.image_encoder.state_dict().items()}
    [batch] = pretrain_sam.pictures(config, 1)
    trainer.step(batch)
    moved = {"backbone": 0.0, "detail": 0.0, "neck": 0.0}
    for name, value in trainer.sam.image_encoder.state_dict().items():
        path = name.split(".")[0]
        moved[path] = max(moved[path], float((value.float() - before[name].float()).abs().max()))
    assert (moved["backbone"] > 0, moved["detail"] > 0) == (backbone_rate > 0, detail_rate > 0)
    assert moved["backbone"] <= backbone_rate * moved["neck"] * 1.01  # Adam's first step is the learning rate
    assert (tmp_path / "features").exists() == (detail_rate == 0)
