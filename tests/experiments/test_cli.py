import errno
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from omegaconf import OmegaConf

import alignsam_gym
from alignsam_gym import AlignSAM
from alignsam_gym.data import image_files
from alignsam_gym.experiments import cli
from tests.experiments.test_hydra_arguments import FOLDERS
from tests.pictures import png_that_states


def test_the_version_is_told(alignsam):
    assert alignsam("--version") == f"alignsam-gym {alignsam_gym.__version__}"


def test_masks_have_the_images_names_and_sizes(alignsam, make_run, photos, tmp_path):
    run, out = make_run(), tmp_path / "out"
    assert "2 of 2 files" in alignsam("predict", run, photos, "--out", out)
    agent = AlignSAM.from_pretrained(run)
    for name in ("wide.jpg", "deep/tall.png"):
        mask = cv2.imread(str((out / name).with_suffix(".png")), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(mask, agent.predict(photos / name).mask * np.uint8(255))


def test_shards_divide_the_files(alignsam, make_run, photos, tmp_path):
    run, out = make_run(), tmp_path / "out"
    whole = "predict", run, photos, "--batch-size", 1
    assert "1 of 1 files" in alignsam(*whole, "--out", out, "--shard", "0/2")
    assert len(list(out.rglob("*.png"))) == 1
    assert "1 of 1 files" in alignsam(*whole, "--out", out, "--shard", "1/2")
    alignsam(*whole, "--out", tmp_path / "whole")
    for name in ("wide.png", "deep/tall.png"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--shard", "2/2"], "shard=2: shards are numbered from 0 to num_shards − 1 = 1"),
        (["--shard", "0/3"], "3 shards: 2 images are 2 batches of 1"),
        (["--shard", "0/2", "--format", "coco"], "with --shard take --format yolo or mask"),
        (["--shard", "0/2", "--format", "video"], "with --shard take --format overlay"),
    ],
)
def test_files_that_cannot_be_divided_are_told(alignsam, make_run, photos, options, says):
    assert says in alignsam("predict", make_run(), photos, "--batch-size", 1, *options, status=1)


def test_overlays_tint_the_image_inside_the_mask_alone(alignsam, make_run, photos, tmp_path):
    run = make_run()
    alignsam("predict", run, photos / "wide.jpg", "--out", tmp_path / "out", "--format", "overlay")
    image, overlay = cv2.imread(str(photos / "wide.jpg")), cv2.imread(str(tmp_path / "out/wide.png"))
    mask = AlignSAM.from_pretrained(run).predict(photos / "wide.jpg").mask
    near = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5))) > 0  # outlines are drawn around it
    np.testing.assert_array_equal(overlay[~near], image[~near])
    assert (overlay[mask] != image[mask]).any(1).mean() > 0.9


def test_probabilities_are_grey_levels(alignsam, make_run, photos, tmp_path):
    run, out = make_run(), tmp_path / "out"
    alignsam("predict", run, photos, "--out", out, "--format", "probability")
    agent = AlignSAM.from_pretrained(run)
    for name in ("wide.jpg", "deep/tall.png"):
        levels = cv2.imread(str((out / name).with_suffix(".png")), cv2.IMREAD_UNCHANGED)
        assert levels.dtype == np.uint8
        np.testing.assert_allclose(levels / 255, agent.predict(photos / name).probability, atol=1 / 255)


def test_images_whose_masks_are_there_are_left_alone(alignsam, make_run, photos, tmp_path, monkeypatch):
    run, out = make_run(), tmp_path / "out"
    alignsam("predict", run, photos, "--out", out)
    whole = (out / "deep/tall.png").read_bytes()
    (out / "deep/tall.png").unlink()
    (out / "wide.png").write_text("mine")
    predicted, predict_many = [], AlignSAM.predict_many

    def watched(agent, images, text):
        return predict_many(agent, (predicted.append(image.shape) or image for image in images), text)

    monkeypatch.setattr(AlignSAM, "predict_many", watched)
    output = alignsam("predict", run, photos, "--out", out, "--skip-existing")
    assert output.endswith(f"2 of 2 files are in {out}; 1 of them were there before")
    assert predicted == [(80, 20, 3)]
    assert (out / "wide.png").read_text() == "mine"
    assert (out / "deep/tall.png").read_bytes() == whole
    assert alignsam("predict", run, photos, "--out", out, "--skip-existing").endswith("2 of them were there before")


@pytest.mark.parametrize("format", ["mask", "probability", "overlay", "video", "coco", "yolo"])
def test_a_file_that_is_there_is_told_before_anything_is_predicted(alignsam, make_run, photos, tmp_path, format):
    run, out = make_run(), tmp_path / "out"
    cv2.imwrite(str(photos / "deep/tall.png"), np.zeros((30, 70, 3), np.uint8))
    alignsam("predict", run, photos, "--out", out, "--format", format)
    last = sorted(file for file in out.rglob("*") if file.is_file() and file.suffix != ".yaml")[-1]
    for file in out.rglob("*"):
        if file.is_file() and file != last:
            file.unlink()
    assert f"{last} is there already" in alignsam("predict", run, photos, "--out", out, "--format", format, status=1)
    assert [file for file in out.rglob("*") if file.is_file()] == [last]


def test_a_file_for_the_predictions_is_told(alignsam, make_run, photos):
    file = photos / "wide.jpg"
    before = file.read_bytes()
    assert f"--out {file} is a file; name a folder." in alignsam("predict", make_run(), photos, "--out", file, status=1)
    assert file.read_bytes() == before


def test_a_deep_image_is_read_as_in_training(alignsam, make_run, photos, tmp_path):
    run, out = make_run(), tmp_path / "out"
    config = OmegaConf.load(run / "config.yaml")
    config.dataset.intensity_range = [100, 1200]
    OmegaConf.save(config, run / "config.yaml")
    deep = np.random.default_rng(0).integers(100, 1200, (30, 70), dtype=np.uint16)
    cv2.imwrite(str(photos / "deep.tif"), deep)
    alignsam("export", run, tmp_path / "agent.alignsam")
    alignsam("predict", tmp_path / "agent.alignsam", photos / "deep.tif", "--out", out)
    grey = ((deep - 100.0) / 1100 * 256).astype(np.uint8)
    expected = AlignSAM.from_pretrained(run).predict(np.repeat(grey[..., None], 3, axis=2)).mask
    np.testing.assert_array_equal(cv2.imread(str(out / "deep.png"), cv2.IMREAD_UNCHANGED), expected * np.uint8(255))


def test_the_mask_of_a_very_large_image_has_its_size(alignsam, make_run, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(image_files, "FULL_SIZE_PIXELS", 1000)
    run, out = make_run(), tmp_path / "out"
    alignsam("predict", run, photos / "wide.jpg", "--out", out)
    mask = cv2.imread(str(out / "wide.png"), cv2.IMREAD_UNCHANGED)
    small = AlignSAM.from_pretrained(run).predict(photos / "wide.jpg").mask
    assert (mask.shape, small.shape) == ((30, 70), (15, 35))
    np.testing.assert_array_equal(mask[::2, ::2] > 0, small)
    alignsam("predict", run, photos / "wide.jpg", "--out", out, "--format", "overlay", "--overwrite")
    assert cv2.imread(str(out / "wide.png")).shape == (15, 35, 3)


def test_what_cannot_be_read_is_skipped_and_named(alignsam, make_run, photos, tmp_path):
    (photos / "empty.png").touch()
    (photos / "text.jpg").write_text("no picture")
    (photos / "bomb.png").write_bytes(png_that_states(40_000, 40_000))
    whole = (photos / "deep/tall.png").read_bytes()
    (photos / "torn.png").write_bytes(whole[: len(whole) // 2])
    output = alignsam("predict", make_run(), photos, "--out", tmp_path / "out")
    assert "2 of 6 files" in output
    for name, reason in (
        ("empty.png", "it is empty, 0 bytes"),
        ("text.jpg", "cannot identify"),
        ("torn.png", "truncated"),
    ):
        assert reason in output.partition(f"skipped: {photos / name} cannot be read as an image (")[2].partition(")")[0]
    assert f"skipped: {photos / 'bomb.png'} has 1,600 megapixels" in output
    assert sorted(file.stem for file in (tmp_path / "out").rglob("*.png")) == ["tall", "wide"]


def test_nothing_done_is_a_failure(alignsam, make_run, tmp_path):
    (tmp_path / "empty.png").touch()
    assert "None of 1 files could be read: " in alignsam("predict", make_run(), tmp_path / "empty.png", status=1)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere", "{photos}"], "no bundle or run nowhere"),
        (["{run}", "nowhere"], "no file or folder nowhere"),
        (["{run}", "{run}"], "no PNG, JPEG, BMP, WebP or TIFF"),
        (["{run}", "{photos}", "{photos}"], "would both be called"),
        (["{run}", "{photos}", "--text", "star"], "leave the text out"),
        (["{run}", "{photos}", "--batch-size", "0"], "batch_size=0"),
        (["{run}", "{photos}", "--format", "coco", "--skip-existing"], "--skip-existing is for a file of each image"),
        (["{run}", "{photos}", "--format", "video", "--skip-existing"], "--skip-existing is for a file of each image"),
        (["{run}", "{photos}", "--category", "cat"], "--category is for --format coco and yolo"),
    ],
)
def test_a_users_mistake_ends_with_its_message(alignsam, make_run, photos, arguments, says):
    places = {"run": make_run(), "photos": photos}
    assert says in alignsam("predict", *(one.format(**places) for one in arguments), status=1)


def test_an_unknown_format_names_those_there_are(alignsam, make_run, photos):
    output = alignsam("predict", make_run(), photos, "--format", "gif", status=2)
    assert all(name in output for name in ("mask", "overlay", "video", "coco", "yolo"))


def test_photographs_are_not_replaced_by_their_masks(alignsam, make_run, photos):
    before = (photos / "deep/tall.png").read_bytes()
    output = alignsam("predict", make_run(), photos, "--out", photos, status=1)
    assert "tall.png would be replaced by its own prediction" in output
    assert (photos / "deep/tall.png").read_bytes() == before


def test_a_folder_that_cannot_be_written_ends_the_command(alignsam, make_run, photos, tmp_path):
    (tmp_path / "file").touch()
    output = alignsam("predict", make_run(), photos, "--out", tmp_path / "file/out", status=1)
    assert "cannot be written (Not a directory)" in output


def test_a_full_disk_ends_the_command_and_leaves_no_half_file(alignsam, make_run, photos, tmp_path, monkeypatch):
    run, write = make_run(), Path.write_bytes

    def fill_the_disk(path, content):
        write(path, content[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill_the_disk)
    output = alignsam("predict", run, photos, "--out", tmp_path / "out", status=1)
    assert "cannot be written (No space left on device); is the disk full" in output
    assert not [file for file in (tmp_path / "out").rglob("*") if file.is_file()]


@pytest.mark.slow
def test_a_hundred_million_pixels_have_a_mask(alignsam, make_run, tmp_path):
    cv2.imwrite(str(tmp_path / "huge.png"), np.zeros((9000, 12000, 3), np.uint8))
    for format in ("mask", "overlay", "coco", "yolo"):
        out = tmp_path / f"{format} of huge"
        alignsam("predict", make_run(format), tmp_path / "huge.png", "--out", out, "--format", format)
    [image] = json.loads((tmp_path / "coco of huge/annotations.json").read_text())["images"]
    assert (image["height"], image["width"]) == (9000, 12000)


@pytest.mark.parametrize("name", FOLDERS)
def test_folders_may_be_called_anything(alignsam, make_run, photos, monkeypatch, name):
    monkeypatch.chdir(photos)
    monkeypatch.setenv("HOME", str(photos / "deep"))
    (photos / name).mkdir()
    (photos / "wide.jpg").rename(photos / name / "wide.jpg")
    alignsam("predict", make_run(), "--out=~/masks", "--", name)
    assert (photos / "deep/masks/wide.png").exists()


def test_a_demo_of_no_run_ends_with_the_message(alignsam):
    assert "no bundle or run nowhere" in alignsam("demo", "--run", "nowhere", status=1)


def test_a_demo_without_gradio_says_what_to_install(alignsam, make_run, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert "pip install 'alignsam-gym[demo]'" in alignsam("demo", "--run", make_run(), status=1)


def test_arguments_of_commands_that_hydra_configures_are_passed_on_in_order(alignsam, monkeypatch):
    passed = []
    monkeypatch.setattr(cli, "run_module", lambda command, arguments: passed.append((command, arguments)))
    alignsam("train", "-m", "seed=0,1", "--cfg", "job", "dataset.root=a b")
    alignsam("reproduce", "table=[2,9]")
    assert passed == [
        ("train", ["-m", "seed=0,1", "--cfg", "job", "dataset.root=a b"]),
        ("reproduce", ["table=[2,9]"]),
    ]


def test_an_exported_agent_predicts_as_its_run_does(alignsam, make_run, photos, tmp_path):
    run = make_run()
    assert "one.alignsam" in alignsam("export", run, tmp_path / "one.alignsam")
    for place in (run, tmp_path / "one.alignsam"):
        alignsam("predict", place, photos / "wide.jpg", "--out", tmp_path / f"of-{place.name}")
    first, second = ((tmp_path / f"of-{name}/wide.png").read_bytes() for name in (run.name, "one.alignsam"))
    assert first == second


def test_an_export_names_the_file_that_it_wrote(alignsam, make_run, tmp_path):
    assert alignsam("export", make_run(), tmp_path / "policy", "--sb3").endswith("policy.zip")
    assert (tmp_path / "policy.zip").is_file()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere", "out"], "no bundle or run nowhere"),
        (["{run}", "{run}/config.yaml/out"], "cannot be written"),
        (["{run}", "out", "--sb3", "--onnx"], "give one"),
    ],
)
def test_an_export_that_cannot_be_ends_with_a_message(alignsam, make_run, arguments, says):
    run = make_run()
    assert says in alignsam("export", *(one.format(run=run) for one in arguments), status=1)
