import cv2
import numpy as np
import pytest
from PIL import Image

from alignsam_gym.data.video_files import read_video, video_rate
from alignsam_gym.demo.episode_file import save_episode, side_by_side
from alignsam_gym.errors import DataError


@pytest.fixture
def frames():
    """Five pictures, each brighter than the one before."""
    return [np.full((48, 64, 3), 50 * level, np.uint8) for level in range(5)]


def test_a_gif_has_a_picture_of_each_step_and_holds_the_last(frames, tmp_path):
    save_episode(frames, tmp_path / "episode.gif")
    with Image.open(tmp_path / "episode.gif") as gif:
        assert (gif.size, gif.n_frames, gif.info["loop"]) == ((64, 48), 5, 0)
        durations = []
        for index, frame in enumerate(frames):
            gif.seek(index)
            durations.append(gif.info["duration"])
            assert abs(np.asarray(gif.convert("RGB")).mean() - frame.mean()) < 2
    assert durations == [500, 500, 500, 500, 2000]


def test_an_mp4_has_them_too(frames, tmp_path):
    save_episode(frames, tmp_path / "episode.mp4")
    read = list(read_video(tmp_path / "episode.mp4"))
    assert video_rate(tmp_path / "episode.mp4") == 2
    assert np.array([frame.mean() for frame in read]) == pytest.approx([0, 50, 100, 150, 200, 200, 200, 200], abs=4)


@pytest.mark.parametrize("name", ["folder/episode.gif", "folder/episode.mp4"])
def test_a_file_that_cannot_be_written_is_told(frames, tmp_path, name):
    (tmp_path / "folder").write_text("a file in the folder's place")
    with pytest.raises(DataError, match=r"episode\..* cannot be written"):
        save_episode(frames, tmp_path / name)


def test_a_video_that_breaks_off_leaves_nothing(frames, tmp_path):
    with pytest.raises(cv2.error):
        save_episode([*frames, np.zeros((48, 64))], tmp_path / "episode.mp4")
    assert list(tmp_path.iterdir()) == []


def test_two_agents_are_side_by_side(frames):
    joined = side_by_side([frames[1], frames[2]])
    np.testing.assert_array_equal(joined[:, :64], frames[1])
    np.testing.assert_array_equal(joined[:, -64:], frames[2])
    assert (joined[:, 64:-64] == 255).all()
