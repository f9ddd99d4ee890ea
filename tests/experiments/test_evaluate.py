import json
from pathlib import Path

import cv2
import pytest
from hydra import compose, initialize_config_dir

from alignsam_gym.agents.trained_run import load_config, load_run
from alignsam_gym.experiments.evaluate import evaluate_agent, main
from tests.conftest import ToyDataset
from tests.experiments.small import HARDLY_EVALUATED

CONF = str(Path(__file__).parents[2] / "conf")


@pytest.fixture
def evaluated(make_run, tmp_path):
    """Evaluates a run on a folder of six photographs, one of them broken, and returns what was measured."""
    run, photos, output = make_run(), tmp_path / "photos", tmp_path / "out"
    for name in ("images", "masks"):
        (photos / name).mkdir(parents=True)
    for number, sample in enumerate(ToyDataset(6).samples):
        cv2.imwrite(f"{photos}/images/{number}.png", sample.image)
        cv2.imwrite(f"{photos}/masks/{number}.png", sample.mask * 255)
    (photos / "images/3.png").write_text("no picture")

    def evaluate(*arguments):
        options = [f"run={run}", f"output={output}", *HARDLY_EVALUATED, "evaluate.limit=null"]
        with initialize_config_dir(CONF, version_base="1.3"):
            main(compose("evaluate", [*options, *arguments]))
        return json.loads((output / "metrics.json").read_text())["prompting"]["agent"]["images"]

    return evaluate, f"dataset.root={photos}"


def test_broken_images_are_left_out_where_the_command_says_so(evaluated):
    evaluate, root = evaluated
    options = "dataset=folder", root, "dataset.test=*"
    with pytest.raises(SystemExit, match=r"3\.png"):
        evaluate(*options)
    assert evaluate(*options, "on_error=skip") == 5


def test_a_data_set_without_a_name_is_told(evaluated):
    evaluate, root = evaluated
    with pytest.raises(
        SystemExit, match=r"^error: dataset\.root: the data set itself is not named; add dataset=folder"
    ):
        evaluate(f"+{root}")


def test_what_was_not_drawn_is_not_finished(make_run, toy_dataset, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    options = {
        "limit": None,
        "strategies": ["agent"],
        "deterministic": True,
        "filmstrips": 1,
        "filmstrip_strategies": ["agent"],
    }
    run = make_run()
    config = load_config(run)
    config.evaluate.update(options)
    env, policy = load_run(run, config, samples=toy_dataset)
    with monkeypatch.context() as patched:
        patched.setattr("alignsam_gym.experiments.evaluate.filmstrip", interrupted)
        with pytest.raises(SystemExit):
            evaluate_agent(tmp_path, config, env, policy, policy, {})
    assert not (tmp_path / "metrics.json").exists()
    miou = evaluate_agent(tmp_path, config, env, policy, policy, {})
    assert json.loads((tmp_path / "metrics.json").read_text())["prompting"]["agent"]["miou"] == miou
    assert (tmp_path / "filmstrip.png").exists()
