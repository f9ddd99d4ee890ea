import cv2
import numpy as np
import pytest

from alignsam_gym.data.video_files import VideoFile, read_video, video_length, video_rate
from alignsam_gym.errors import DataError


def frames(count, size=(32, 48)):
    """A bright square that moves to the right, on dark ground."""
    for number in range(count):
        frame = np.full((*size, 3), 30, np.uint8)
        frame[8:24, number : number + 16] = (220, 120, 60)
        yield frame


def write(file, count=10, rate=12.5, size=(32, 48)):
    video = VideoFile(file, rate, size)
    for frame in frames(count, size):
        video.write(frame)
    return video


def test_frames_are_read_as_they_were_written(tmp_path):
    file = tmp_path / "deep/a.mp4"
    write(file).save()
    assert (video_rate(file), video_length(file)) == (12.5, 10)
    for found, frame in zip(read_video(file), frames(10), strict=True):
        assert np.abs(found.astype(int) - frame).mean() < 8  # MPEG-4 is lossy; colours swapped would be 20 off
    assert [path.name for path in file.parent.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize(("suffix", "codec"), [(".avi", "MJPG"), (".mov", "mp4v"), (".mkv", "mp4v"), (".webm", "VP80")])
def test_what_cameras_and_tools_write_is_read(tmp_path, suffix, codec):
    file = tmp_path / f"100% a{suffix}"  # OpenCV would take % for a sequence of images
    writer = cv2.VideoWriter(str(file), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*codec), 10, (48, 32))
    for frame in frames(4):
        writer.write(frame[..., ::-1].copy())
    writer.release()
    found = list(read_video(file))
    assert [frame.shape for frame in found] == [(32, 48, 3)] * 4
    red, green, blue = found[0][12:20, 4:12].reshape(-1, 3).mean(0)
    assert red > green > blue


def test_an_unfinished_video_does_not_replace_another(tmp_path):
    file = tmp_path / "a.mp4"
    write(file, count=3).save()
    write(file, count=5).discard()
    assert video_length(file) == 3
    assert list(tmp_path.iterdir()) == [file]


def test_a_video_that_could_not_be_written_whole_is_told(tmp_path):
    video = write(tmp_path / "a.mp4")
    video._writer.release()
    video._partial.write_bytes(video._partial.read_bytes()[:100])  # as a full disk leaves it
    with pytest.raises(DataError, match="is the disk full"):
        video.save()
    assert not list(tmp_path.iterdir())


def test_a_size_that_no_encoder_takes_is_told(tmp_path):
    with pytest.raises(DataError, match="as a video of 1×1 pixels"):
        VideoFile(tmp_path / "a.mp4", 24, (1, 1))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"no video"])
def test_what_is_no_video_is_told(tmp_path, content):
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(DataError, match="cannot be read as a video"):
        list(read_video(tmp_path / "a.mp4"))


def test_a_torn_video_gives_its_frames_and_is_told(tmp_path):
    file = tmp_path / "a.avi"
    writer = cv2.VideoWriter(str(file), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"MJPG"), 10, (48, 32))
    for frame in frames(40):
        writer.write(frame)
    writer.release()
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    found = []
    with pytest.raises(DataError, match=r"breaks off after \d+ of 40 frames"):
        found.extend(iter_until(read_video(file), found))
    assert 10 < len(found) < 30


def iter_until(frames, found):
    for frame in frames:
        found.append(frame)
    return ()
