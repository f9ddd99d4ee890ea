"""The scripts as they are, on a toy SAM and few steps."""

import importlib.util
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alignsam_gym.data.shapes_dataset import ShapesDataset
from tests.browsing import BROWSERS

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL = ["--shots", "4", "--num-envs", "4", "--steps", "3", "--epochs", "2"]


@pytest.fixture
def main(toy_sam, monkeypatch):
    def load(name):
        spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)  # dataclasses look their module up
        spec.loader.exec_module(module)
        return module.main

    return load


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cleanrl_ppo", "torchrl_ppo"])
def test_a_training_runs_and_a_seed_repeats_it(main, name):
    first, again, other = (main(name)([*SMALL, "--timesteps", "36", "--seed", seed]) for seed in ("1", "1", "2"))
    assert len(first) == 3
    assert np.isfinite(first).all()
    assert first == again
    assert first != other


@pytest.mark.slow
def test_wrappers_record_episodes_and_videos(main, tmp_path):
    arguments = ["--output", str(tmp_path), "--episodes", "2", "--num-envs", "2", "--steps", "2"]
    single, vector = main("gymnasium_wrappers")(arguments)
    assert len(single) == len(vector) == 2
    assert np.abs(single + vector).max() > 0
    videos = sorted(tmp_path.glob("*.mp4"))
    assert [video.name.split("-")[0] for video in videos] == ["single", "single", "vector"]
    assert all(video.stat().st_size > 1000 for video in videos)


@pytest.fixture
def scenes(tmp_path):
    """A folder with two drawn scenes and their masks."""
    drawn = ShapesDataset("saliency", "test")
    for index in range(2):
        for kind, content in (("images", drawn[index].image), ("masks", drawn[index].mask)):
            (tmp_path / kind).mkdir(exist_ok=True)
            Image.fromarray(content).save(tmp_path / kind / f"{index}.png")
    return tmp_path


@pytest.mark.slow
def test_a_simulated_person_labels_by_clicks(main, scenes):
    labelled = main("clicks_to_masks")([str(scenes), "--iou", "0.8", "--most", "6"])
    assert [each.stem for each in labelled] == ["0", "1"]
    for each in labelled:
        assert max(each.ious[:-1]) < 0.8
        assert each.ious[-1] >= 0.8 or len(each.ious) == 7
    assert sorted(file.name for file in (scenes / "masks").iterdir()) == ["0.png", "1.png"]


def test_photographs_without_masks_are_told(main, scenes, capsys):
    shutil.rmtree(scenes / "masks")
    with pytest.raises(SystemExit, match="2"):
        main("clicks_to_masks")([str(scenes)])
    assert f"put masks into {scenes / 'masks'}" in capsys.readouterr().err


@pytest.mark.slow
def test_clicks_on_the_page_do_what_clicks_without_it_do(main, scenes):
    pytest.importorskip("playwright", reason="playwright is not installed")
    if not any(map(shutil.which, BROWSERS)):
        pytest.skip("there is no Chromium")
    given = [str(scenes), "--iou", "0.8", "--most", "6"]
    alone, on_page = main("clicks_to_masks")(given), main("labelling_round")([*given, "--pace", "0"])
    assert [each.stem for each in on_page] == ["0", "1"]
    assert [each.clicks for each in on_page] == [len(each.ious) - 1 for each in alone]
    assert [each.iou for each in on_page] == pytest.approx([each.ious[-1] for each in alone], abs=0.02)
    assert {(each.agent, each.proposed) for each in on_page} == {(None, 0.0)}


@pytest.mark.slow
def test_photographs_are_drawn_as_they_are_and_with_what_the_agent_made_of_them(main, make_run, tmp_path):
    strips = main("prompted_photographs")(["--run", str(make_run()), "--output", str(tmp_path / "new/picture.png")])
    with Image.open(tmp_path / "new/picture.png") as picture:
        assert picture.width > 1000
    for photograph, *answers in strips:
        assert len(answers) == 4
        assert all(answer.shape == photograph.shape for answer in answers)
        assert not any(np.array_equal(answer, photograph) for answer in answers)  # the initial pair is always there
        assert not np.array_equal(answers[0], answers[1])
        assert np.array_equal(answers[2], answers[3])  # this agent's episodes are shorter than five prompts
