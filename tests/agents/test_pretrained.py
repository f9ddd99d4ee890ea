from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image

from alignsam_gym.agents import AlignSAM
from alignsam_gym.agents.agent_prompter import AgentPrompter
from alignsam_gym.agents.trained_run import load_config, load_run
from alignsam_gym.envs.rendering import upsample
from alignsam_gym.errors import DataError, OptionError
from alignsam_gym.evaluation.prompting_evaluation import prompt
from alignsam_gym.foundation.sam.predictor import load_sam

STEPS = 3


def picture(height, width, seed=0):
    image = np.random.default_rng(seed).integers(0, 100, (height, width, 3), dtype=np.uint8)
    return cv2.circle(image, (width // 2, height // 3), min(height, width) // 4, (200, 220, 240), cv2.FILLED)


@pytest.mark.parametrize("text", [None, pytest.param("star", marks=pytest.mark.slow)])
def test_a_prediction_is_what_an_evaluation_would_answer(make_run, toy_dataset, text):
    run = make_run(branch="explicit" if text else "implicit")
    toy_dataset.samples = [replace(sample, text=text) for sample in toy_dataset.samples]
    env, policy = load_run(run, load_config(run), samples=toy_dataset)
    expected = {}

    def keep(episode, step, batch):
        for row, index in enumerate(batch):
            points = episode.points[row].numpy()[: 2 + step].copy()
            expected[index, step] = upsample(episode.logits[row], (64, 64)), points

    prompt(env.episode, list(range(len(toy_dataset))), AgentPrompter(policy, True), keep)
    agent = AlignSAM.from_run(run, batch_size=3)
    for index, sample in enumerate(toy_dataset.samples):
        steps = list(agent.predict_steps(sample.image, text))
        assert len(steps) == 1 + STEPS
        for step, prediction in enumerate(steps):
            mask, points = expected[index, step]
            np.testing.assert_array_equal(prediction.mask, mask)
            np.testing.assert_allclose(prediction.points, points)
            assert len(prediction.labels) == 2 + step
    many = agent.predict_many((sample.image for sample in toy_dataset.samples), text)
    for index, prediction in enumerate(many):
        np.testing.assert_array_equal(prediction.mask, expected[index, STEPS][0])
    assert index == len(toy_dataset) - 1


def test_masks_and_points_are_in_the_images_own_pixels(make_run):
    agent = AlignSAM.from_run(make_run())
    image = picture(90, 210)
    answer = agent.predict(image)
    assert answer.mask.shape == answer.probability.shape == (90, 210)
    assert (answer.mask.dtype, answer.probability.dtype, answer.points.dtype) == (bool, np.float32, np.float32)
    np.testing.assert_array_equal(answer.mask, answer.probability > 0.5)
    assert 0 < answer.mask.mean() < 1
    assert set(answer.labels.tolist()) <= {0, 1}
    assert answer.labels[:2].tolist() == [1, 0]
    cells = (answer.points[2:] - (210 / 8, 90 / 8)) / (210 / 4, 90 / 4)
    np.testing.assert_allclose(cells, cells.round(), atol=1e-5)
    assert len(np.unique(cells.round(), axis=0)) == STEPS  # no patch twice


def test_arrays_pillow_images_and_files_are_one(make_run, tmp_path):
    agent, image = AlignSAM.from_run(make_run()), picture(50, 70)
    Image.fromarray(image).save(tmp_path / "a.png")
    masks = [agent.predict(one).mask for one in (image, Image.fromarray(image), tmp_path / "a.png")]
    np.testing.assert_array_equal(masks[1], masks[0])
    np.testing.assert_array_equal(masks[2], masks[0])


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (np.zeros((3, 8, 8), np.uint8), r"not uint8 \(3, 8, 8\)"),
        (np.zeros((8, 8, 3), np.float32), "not float32"),
        (np.zeros((8, 8), np.uint8), r"uint8 \(H, W, 3\)"),
        (np.zeros((0, 8, 3), np.uint8), "nothing to segment"),
        ([[1, 2]], "not list"),
        ("nowhere.png", "nowhere.png"),
    ],
)
def test_what_is_no_image_is_an_error(make_run, image, says):
    with pytest.raises(DataError, match=says):
        AlignSAM.from_run(make_run()).predict(image)


def test_a_torn_pillow_image_is_an_error(make_run, tmp_path):
    Image.fromarray(picture(50, 70)).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:2000])
    with pytest.raises(DataError, match="cannot be decoded"):
        AlignSAM.from_run(make_run()).predict(Image.open(tmp_path / "a.png"))


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1)])
def test_the_smallest_images_have_masks(make_run, size):
    assert AlignSAM.from_run(make_run()).predict(picture(*size)).mask.shape == size


def test_a_text_is_asked_for_where_it_guides(make_run):
    plain = AlignSAM.from_run(make_run())
    with pytest.raises(OptionError, match="leave the text out"):
        plain.predict(picture(20, 20), text="star")


def test_what_a_policy_remembers_is_of_one_image(make_run, monkeypatch):
    """However the steps of two predictions are mixed."""
    agent = AlignSAM.load(make_run())

    def predict(observation, memory, **_):
        step = 0 if memory is None else memory + 1
        return np.full(len(observation["visited"]), 5 * step), step

    monkeypatch.setattr(agent.policy, "predict", predict)
    images = [np.random.default_rng(i).integers(0, 256, (64, 64, 3), dtype=np.uint8) for i in range(2)]
    alone = [list(agent.predict_steps(image)) for image in images]
    mixed = zip(*zip(*map(agent.predict_steps, images), strict=True), strict=True)
    for one, other in zip(alone, mixed, strict=True):
        for expected, found in zip(one, other, strict=True):
            np.testing.assert_array_equal(found.points, expected.points)


@pytest.mark.slow
def test_text_guides_an_explicit_run(make_run):
    run = make_run(branch="explicit", initial_prompts="clip")  # an untrained SRM hardly heeds it
    agent = AlignSAM.from_run(run)
    with pytest.raises(OptionError, match="give text="):
        agent.predict(picture(40, 40))
    star, cat = (agent.predict(picture(40, 40), text=text).probability for text in ("star", "cat"))
    assert not np.array_equal(star, cat)


@pytest.mark.parametrize(("name", "value"), [("label_source", "oracle"), ("initial_prompts", "truth")])
def test_an_agent_that_needs_the_truth_is_refused(make_run, name, value):
    with pytest.raises(OptionError, match="ground truth"):
        AlignSAM.from_run(make_run(**{name: value}))


def test_a_device_that_is_not_here_is_an_error(make_run, monkeypatch):
    run = make_run()
    monkeypatch.setattr("alignsam_gym.envs.episode_factory.load_sam", load_sam)
    with pytest.raises(OptionError, match="device='cuda:99' cannot be used here"):
        AlignSAM.from_run(run, device="cuda:99")


def test_importing_the_name_waits_for_its_use(run_python):
    assert "torch" not in run_python("import sys, agents; print(*sys.modules)").split()
