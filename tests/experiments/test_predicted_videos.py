"""`alignsam predict` of videos, TIFF stacks and folders of frames."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image

from alignsam_gym import AlignSAM
from alignsam_gym.data.video_files import VideoFile, read_video, video_rate
from alignsam_gym.envs.rendering import ANSWER_COLOUR, overlay
from tests.agents.test_pretrained import picture

FRAMES = [np.roll(picture(40, 60), 4 * number, axis=1) for number in range(5)]


@pytest.fixture
def clip(tmp_path):
    video = VideoFile(tmp_path / "clip.mp4", 10.0, (40, 60))
    for frame in FRAMES:
        video.write(frame)
    video.save()
    return tmp_path / "clip.mp4"


def mask_of(file):
    return cv2.imread(str(file), cv2.IMREAD_UNCHANGED) > 0


def test_each_frame_of_a_video_has_a_mask_and_the_overlay_is_a_video(alignsam, make_run, clip, tmp_path):
    run, out = make_run(), tmp_path / "out"
    assert alignsam("predict", run, clip, "--out", out, "--format", "video").endswith("out, as 5 frames")
    agent = AlignSAM.from_pretrained(run)
    pictures = list(read_video(out / "clip.mp4"))
    assert (len(pictures), video_rate(out / "clip.mp4")) == (5, 10.0)
    for number, frame in enumerate(read_video(clip)):
        mask = mask_of(out / f"clip/{number:06d}.png")
        alone = agent.predict(frame).mask
        assert np.mean(mask != alone) < 0.002  # a batch changes a logit's last bits: a pixel may lie on the outline
        drawn = overlay(frame, mask, ANSWER_COLOUR).astype(int)
        assert np.abs(pictures[number] - drawn).mean() < np.abs(pictures[number].astype(int) - frame).mean() / 2


def test_a_stack_is_predicted_as_its_pages_are_alone(alignsam, make_run, tmp_path):
    """Of 16 bits, each page stretched from its own lowest to its own highest value."""
    run, out = make_run(), tmp_path / "out"
    pages = [frame[..., 0].astype(np.uint16) * 100 for frame in FRAMES]
    first, *rest = map(Image.fromarray, pages)
    first.save(tmp_path / "stack.tif", save_all=True, append_images=rest)
    for number, page in enumerate(pages):
        cv2.imwrite(str(tmp_path / f"{number}.png"), page)
    alignsam("predict", run, tmp_path / "stack.tif", *(tmp_path / f"{n}.png" for n in range(5)), "--out", out)
    for number in range(5):
        np.testing.assert_array_equal(mask_of(out / f"stack/{number:06d}.png"), mask_of(out / f"{number}.png"))


def test_the_frames_of_each_folder_are_a_video_in_the_order_of_their_numbers(alignsam, make_run, tmp_path):
    run, out, folder = make_run(), tmp_path / "out", tmp_path / "frames"
    (folder / "b").mkdir(parents=True)
    for name, frame in zip(("9", "10", "b/1", "b/2", "b/3"), FRAMES, strict=True):
        cv2.imwrite(str(folder / f"{name}.png"), frame[..., ::-1])
    alignsam("predict", run, folder, "--out", out, "--format", "video")
    assert [len(list(read_video(out / name))) for name in ("frames.mp4", "b.mp4")] == [2, 3]
    assert {file.relative_to(out).as_posix() for file in out.rglob("*.png")} == {
        "9.png", "10.png", "b/1.png", "b/2.png", "b/3.png"
    }  # fmt: skip


def test_coco_names_frames_as_files(alignsam, make_run, clip, tmp_path):
    alignsam("predict", make_run(), clip, "--out", tmp_path / "out", "--format", "coco")
    images = json.loads((tmp_path / "out/annotations.json").read_text())["images"]
    assert [image["file_name"] for image in images] == [f"clip/{number:06d}.png" for number in range(5)]


def test_frames_of_several_sizes_are_no_video_and_none_is_left(alignsam, make_run, photos, tmp_path):
    (photos / "deep/tall.png").rename(photos / "tall.png")
    output = alignsam("predict", make_run(), photos, "--out", tmp_path / "out", "--format", "video", status=1)
    assert "wide.jpg is of 70×30 pixels, the first frame of photos of 20×80" in output
    assert not list((tmp_path / "out").glob("*.mp4"))
    assert not (tmp_path / "out").exists()  # sizes are compared before anything is written


def test_two_sequences_of_one_name_are_told(alignsam, make_run, clip, tmp_path):
    (tmp_path / "frames/clip").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "frames/clip/a.png"), FRAMES[0])
    cv2.imwrite(str(tmp_path / "frames/z.png"), FRAMES[0])
    output = alignsam(
        "predict", make_run(), clip, tmp_path / "frames", "--out", tmp_path / "out", "--format", "video", status=1
    )
    assert "frames/clip would both be" in output


def test_frames_of_two_folders_of_one_name_are_not_one_video(alignsam, make_run, tmp_path):
    for number, folder in enumerate(("a/clip", "b/clip")):
        (tmp_path / folder).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / folder / f"{number}.png"), FRAMES[0])
    folders = tmp_path / "a/clip", tmp_path / "b/clip"
    output = alignsam("predict", make_run(), *folders, "--out", tmp_path / "out", "--format", "video", status=1)
    assert f"The predictions of {folders[0]} and {folders[1]} would both be {tmp_path / 'out/clip.mp4'}" in output


def test_a_page_and_a_photograph_of_one_name_are_told(alignsam, make_run, tmp_path):
    (tmp_path / "src/stack").mkdir(parents=True)
    first, *rest = map(Image.fromarray, FRAMES[:2])
    first.save(tmp_path / "src/stack.tif", save_all=True, append_images=rest)
    cv2.imwrite(str(tmp_path / "src/stack/000000.jpg"), FRAMES[0])
    output = alignsam("predict", make_run(), tmp_path / "src", "--out", tmp_path / "out", status=1)
    assert f"would both be {tmp_path / 'out/stack/000000.png'}" in output


def test_a_torn_video_keeps_its_masks_and_is_named(alignsam, make_run, tmp_path):
    file = tmp_path / "torn.avi"
    writer = cv2.VideoWriter(str(file), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"MJPG"), 10, (60, 40))
    for frame in FRAMES * 4:
        writer.write(frame)
    writer.release()
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    output = alignsam("predict", make_run(), file, "--out", tmp_path / "out")
    assert f"skipped: {file} breaks off after" in output
    assert len(list((tmp_path / "out/torn").glob("*.png"))) > 5


def test_a_video_is_not_replaced_by_its_overlay(alignsam, make_run, clip):
    before = clip.read_bytes()
    output = alignsam("predict", make_run(), clip, "--out", clip.parent, "--format", "video", status=1)
    assert "clip.mp4 would be replaced by its own prediction" in output
    assert clip.read_bytes() == before


def test_a_video_among_photographs_is_told_and_must_be_named(alignsam, make_run, photos, clip, caplog):
    clip.rename(photos / "clip.mp4")
    alignsam("predict", make_run(), photos, "--out", photos.parent / "out")
    assert "1 .mp4" in caplog.text
    (photos / "wide.jpg").unlink()
    (photos / "deep/tall.png").unlink()
    assert "A video is to be named itself" in alignsam("predict", make_run("other"), photos, status=1)
