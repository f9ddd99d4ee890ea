import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest

from alignsam_gym.data import load_dataset
from alignsam_gym.experiments.datasets import find_problems, is_sharper_inside
from tests.alignsam_gym.data.trees import FOLDERS, H, W, save, write_pair, write_published


def listed(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "experiments.datasets", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
    )


def half_blurred(masks_mark_blur, root):
    """A CUHK whose images are sharp on the left and blurred on the right."""
    home, images, masks = root / "BlurDataset", "image", "gt"
    noise = np.random.default_rng(0).integers(0, 256, (H, W, 3), dtype=np.uint8)
    picture, right = noise.copy(), np.zeros((H, W), bool)
    right[:, W // 2 :] = True
    picture[right] = cv2.GaussianBlur(noise, (0, 0), 4)[right]
    for i in range(101):
        save(picture, home / images / f"out_of_focus{i:04d}.png")
        save((right if masks_mark_blur else ~right).astype(np.uint8) * 255, home / masks / f"out_of_focus{i:04d}.png")


def test_a_doubtful_polarity_is_noticed(tmp_path):
    half_blurred(True, tmp_path / "right")
    half_blurred(False, tmp_path / "wrong")
    assert find_problems(load_dataset("CUHK", "test", root=tmp_path / "right")) == []
    (line,) = find_problems(load_dataset("CUHK", "test", root=tmp_path / "wrong"))
    assert "100% of the images: set dataset.invert=true" in line
    assert find_problems(load_dataset("CUHK", "test", root=tmp_path / "wrong", invert=True)) == []
    assert not is_sharper_inside(load_dataset("CUHK", "test", root=tmp_path / "right")[0])


def test_only_masks_with_two_sides_are_compared(toy_dataset):
    sample = toy_dataset[0]
    assert is_sharper_inside(sample) is not None
    for mask in (np.zeros_like(sample.mask), np.ones_like(sample.mask)):
        assert is_sharper_inside(replace(sample, mask=mask)) is None


def test_sharpness_is_a_matter_of_cuhk_alone(toy_dataset, monkeypatch):
    monkeypatch.setattr(
        "alignsam_gym.experiments.datasets.is_sharper_inside", lambda _: pytest.fail("sharpness was computed")
    )
    assert find_problems(toy_dataset) == []


def test_broken_samples_are_counted_and_the_first_shown(tmp_path):
    home = write_published("DUTS", tmp_path, 15)
    for file in (home / "DUTS-TE/DUTS-TE-Image").iterdir():
        file.write_text("")
    problems = find_problems(load_dataset("DUTS", "test", root=tmp_path))
    assert len(problems) == 11
    assert problems[-1] == "… and 5 more"


@pytest.mark.slow
def test_the_list_tells_what_is_here_and_what_is_wrong(tmp_path):
    for name in FOLDERS:
        write_published(name, tmp_path, 60)
    shown = listed("--root", tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "VOC2012" in shown.stdout
    assert "not here" in shown.stdout
    home = tmp_path / "DUTS" / "DUTS-TR"
    write_pair(home / "DUTS-TR-Image", home / "DUTS-TR-Mask", "odd")
    (home / "DUTS-TR-Image" / "odd.jpg").write_text("")
    checked = listed("DUTS", "--root", tmp_path, "--check")
    assert checked.returncode == 1
    assert "odd.jpg cannot be read" in checked.stderr
    assert "Traceback" not in checked.stderr
    missing = listed("VOC2012", "--root", tmp_path)
    assert missing.returncode == 1
    assert "VOCdevkit/VOC2012/JPEGImages" in missing.stderr


def test_a_folder_is_checked_with_its_options(tmp_path):
    for i in range(4):
        save(np.full((H, W, 3), 9, np.uint8), tmp_path / f"images/{i}.jpg")
        labels = np.zeros((H, W), np.uint8)
        labels[3:9, 4:12], labels[3:9, 20:30] = 1, 2
        save(labels, tmp_path / f"masks/{i}_mask.png")
    told = listed("folder", "--root", tmp_path, "--check")
    assert told.returncode == 1
    assert "With dataset.mask_name='{stem}_mask', 4 of them have one." in told.stderr
    options = ["--option", "mask_name={stem}_mask"]
    told = listed("folder", "--root", tmp_path, "--check", *options)
    assert told.returncode == 1
    assert told.stderr.count("does not say what is foreground") == 4
    whole = listed("folder", "--root", tmp_path, "--check", *options, "--option", "dataset.foreground=[2]")
    assert whole.returncode == 0, whole.stderr
    assert "whole" in whole.stdout


def test_an_option_without_a_value_is_told(tmp_path):
    told = listed("folder", "--root", tmp_path, "--option", "foreground")
    assert told.returncode == 1
    assert "--option foreground: it must be KEY=VALUE" in told.stderr


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("root=elsewhere", "--option root=elsewhere both name the folder"),
        ("split=train", "dataset='folder' got an unexpected keyword argument 'split'; it takes "),
        ("name=DUTS", "dataset='folder' got an unexpected keyword argument 'name'; it takes "),
    ],
)
def test_an_option_that_the_command_gives_itself_is_told(tmp_path, option, says):
    told = listed("folder", "--root", tmp_path, "--option", option)
    assert told.returncode == 1
    assert says in told.stderr
    assert "Traceback" not in told.stderr
