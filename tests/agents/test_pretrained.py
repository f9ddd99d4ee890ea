from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from alignsam_gym import AlignSAM
from alignsam_gym.agents.agent_prompter import AgentPrompter
from alignsam_gym.agents.bundle import MEMBERS, export
from alignsam_gym.agents.trained_run import load_config, load_run
from alignsam_gym.errors import DataError, OptionError, WeightsError
from alignsam_gym.evaluation.prompting_evaluation import prompt
from alignsam_gym.foundation.sam.predictor import load_sam
from alignsam_gym.transforms import mask_from_logits

STEPS = 3


def every_step(agent, image, text=None):
    """The agent's predictions after 0, 1, …, T steps."""
    session = agent.session()
    session.set_image(image, text)
    yield session.prediction()
    while session.step():
        yield session.prediction()


def picture(height, width, seed=0):
    image = np.random.default_rng(seed).integers(0, 100, (height, width, 3), dtype=np.uint8)
    return cv2.circle(image, (width // 2, height // 3), min(height, width) // 4, (200, 220, 240), cv2.FILLED)


@pytest.mark.parametrize(
    ("text", "network"),
    [(None, "patch"), (None, "full_cnn"), (None, "evidence"), pytest.param("star", "patch", marks=pytest.mark.slow)],
)
def test_a_prediction_is_what_an_evaluation_would_answer(make_run, toy_dataset, text, network):
    fused = {"answer": "fused"} if network == "full_cnn" else {}
    run = make_run(branch="explicit" if text else "implicit", network=network, **fused)
    toy_dataset.samples = [replace(sample, text=text) for sample in toy_dataset.samples]
    env, policy = load_run(run, load_config(run), samples=toy_dataset)
    expected = {}

    def keep(episode, step, batch):
        for row, index in enumerate(batch):
            points = episode.points[row].numpy()[: 2 + step].copy()
            expected[index, step] = mask_from_logits(episode.answers[row], (64, 64)), points

    prompt(env.episode, list(range(len(toy_dataset))), AgentPrompter(policy, True), keep)
    agent = AlignSAM.from_pretrained(run, batch_size=3)
    for index, sample in enumerate(toy_dataset.samples):
        steps = list(every_step(agent, sample.image, text))
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
    agent = AlignSAM.from_pretrained(make_run())
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
    agent, image = AlignSAM.from_pretrained(make_run()), picture(50, 70)
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
        ("nowhere.png", r"There is no file nowhere\.png\."),
        (Path(__file__).parent, r"is a folder: predict_many takes several images"),
    ],
)
def test_what_is_no_image_is_an_error(make_run, image, says):
    with pytest.raises(DataError, match=says):
        AlignSAM.from_pretrained(make_run()).predict(image)


def test_images_before_an_unreadable_one_are_answered(make_run, tmp_path):
    (tmp_path / "torn.png").write_bytes(b"torn")
    agent = AlignSAM.from_pretrained(make_run(), batch_size=4)
    whole = [picture(50, 70, seed) for seed in range(6)]
    answers = agent.predict_many([*whole, tmp_path / "torn.png", picture(20, 20)])
    for image in whole:
        np.testing.assert_array_equal(next(answers).mask, agent.predict(image).mask)
    with pytest.raises(DataError, match=r"torn\.png"):
        next(answers)


def test_a_torn_pillow_image_is_an_error(make_run, tmp_path):
    Image.fromarray(picture(50, 70)).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:2000])
    with pytest.raises(DataError, match="cannot be decoded"):
        AlignSAM.from_pretrained(make_run()).predict(Image.open(tmp_path / "a.png"))


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1)])
def test_the_smallest_images_have_masks(make_run, size):
    assert AlignSAM.from_pretrained(make_run()).predict(picture(*size)).mask.shape == size


def test_a_text_is_asked_for_where_it_guides(make_run):
    plain = AlignSAM.from_pretrained(make_run())
    with pytest.raises(OptionError, match="leave the text out"):
        plain.predict(picture(20, 20), text="star")


def test_what_a_policy_remembers_is_of_one_image(make_run, monkeypatch):
    """However the steps of two predictions are mixed."""
    agent = AlignSAM.from_pretrained(make_run())

    def choose_actions(observation, memory, begins, generator):
        step = 0 if memory is None else memory + 1
        return torch.full((len(observation["visited"]),), 5 * step), step

    monkeypatch.setattr(agent.policy, "choose_actions", choose_actions)
    images = [np.random.default_rng(i).integers(0, 256, (64, 64, 3), dtype=np.uint8) for i in range(2)]
    alone = [list(every_step(agent, image)) for image in images]
    mixed = zip(*zip(*(every_step(agent, image) for image in images), strict=True), strict=True)
    for one, other in zip(alone, mixed, strict=True):
        for expected, found in zip(one, other, strict=True):
            np.testing.assert_array_equal(found.points, expected.points)


@pytest.mark.slow
def test_text_guides_an_explicit_run(make_run):
    run = make_run(branch="explicit", initial_prompts="clip")  # an untrained SRM hardly heeds it
    agent = AlignSAM.from_pretrained(run)
    with pytest.raises(OptionError, match="give text="):
        agent.predict(picture(40, 40))
    star, cat = (agent.predict(picture(40, 40), text=text).probability for text in ("star", "cat"))
    assert not np.array_equal(star, cat)


@pytest.mark.parametrize(("name", "value"), [("label_source", "oracle"), ("initial_prompts", "truth")])
def test_an_agent_that_needs_the_truth_is_refused(make_run, name, value):
    with pytest.raises(OptionError, match="ground truth"):
        AlignSAM.from_pretrained(make_run(**{name: value}))


def test_a_device_that_is_not_here_is_an_error(make_run, monkeypatch):
    run = make_run()
    monkeypatch.setattr("alignsam_gym.envs.episode_factory.load_sam", load_sam)
    with pytest.raises(OptionError, match="device='cuda:99' cannot be used here"):
        AlignSAM.from_pretrained(run, device="cuda:99")


def test_a_saved_agent_is_the_bundle_of_its_run(make_run, tmp_path):
    run = make_run(text="star")
    AlignSAM.from_pretrained(run).save_pretrained(tmp_path / "saved")
    export(run, tmp_path / "exported")
    assert sorted(file.name for file in (tmp_path / "saved").iterdir()) == sorted(MEMBERS)
    assert (tmp_path / "saved/config.yaml").read_bytes() == (tmp_path / "exported/config.yaml").read_bytes()
    for name in ("policy.safetensors", "srm.safetensors"):
        saved, exported = (load_file(tmp_path / place / name) for place in ("saved", "exported"))
        torch.testing.assert_close(saved, exported, rtol=0, atol=0)


def test_a_saved_agent_predicts_alike(make_run, tmp_path):
    agent, image = AlignSAM.from_pretrained(make_run()), picture(50, 70)
    agent.save_pretrained(tmp_path / "one.alignsam")
    again = AlignSAM.from_pretrained(str(tmp_path / "one.alignsam"))
    np.testing.assert_array_equal(again.predict(image).probability, agent.predict(image).probability)


def test_an_agent_is_saved_in_the_home_folder_as_it_is_loaded_from_there(make_run, tmp_path, monkeypatch):
    run = make_run()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("~/folder", "~/one.alignsam"):
        AlignSAM.from_pretrained(run).save_pretrained(name)
        AlignSAM.from_pretrained(name)
    assert not (tmp_path / "~").exists()


def test_weights_of_ones_own_go_with_a_saved_agent_by_their_digest(make_run, tmp_path):
    (tmp_path / "own.pth").write_bytes(b"weights")
    agent = AlignSAM.from_pretrained(make_run(sam=str(tmp_path / "own.pth")), trust_local_weights=True)
    agent.save_pretrained(tmp_path / "bundle")
    assert str(tmp_path) not in (tmp_path / "bundle/config.yaml").read_text()
    with pytest.raises(WeightsError, match=r"sha256:[0-9a-f]{64}: give its file, sam=<path>"):
        AlignSAM.from_pretrained(tmp_path / "bundle", trust_local_weights=True)
    AlignSAM.from_pretrained(tmp_path / "bundle", sam=str(tmp_path / "own.pth"))


def test_what_is_not_here_is_an_error(make_run, tmp_path):
    for source in ("no such name", tmp_path / "nowhere/agent", "nowhere/one.alignsam"):
        with pytest.raises(WeightsError, match=f"There is no bundle or run {source}"):
            AlignSAM.from_pretrained(source)
    with pytest.raises(OptionError, match="revision='v1' is for the Hub"):
        AlignSAM.from_pretrained(make_run(), revision="v1")
